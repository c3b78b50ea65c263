"""The selector of automatic sigma: a fixed, linear function of one noisy sample that names a route."""

import torch
from torch.nn import functional as F

from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types.routing import SigmaRouting


class RouteSelector:
    """Names the route with the largest weights . thumbnail + bias; a base classifier whose classes are the routes.

    Averaging over a rectangle takes most of the noise away, so that nearly all samples of an image agree and a route is
    excluded within a large radius; and it costs no pass of the encoder.
    """

    def __init__(self, routing: SigmaRouting, input_shape: tuple[int, int, int], device: torch.device) -> None:
        """input_shape: (channels, height, width), both sides divisible by the grid; else ValueError."""
        if input_shape[1] % routing.grid or input_shape[2] % routing.grid:
            raise ValueError(f"a grid of {routing.grid} must divide the sides of {input_shape}")
        self.input_shape = input_shape
        self.device = device
        self._grid = routing.grid
        self._weights = torch.tensor(routing.weights, dtype=torch.float64, device=device)
        self._biases = torch.tensor(routing.biases, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, sampler: NoisySampler, routing: SigmaRouting) -> "RouteSelector":
        """The selector of the sampler's image."""
        channels, height, width = sampler.image.shape
        return cls(routing, (channels, height, width), sampler.device)

    @property
    def n_classes(self) -> int:
        """The number of routes."""
        return len(self._biases)

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores (B, routes), float64, of noisy pixels (B, C, H, W)."""
        return self.scores(thumbnails(pixels, self._grid))

    def scores(self, thumbnail: torch.Tensor) -> torch.Tensor:
        """Scores (B, routes), float64, of thumbnails (B, grid * grid)."""
        return (thumbnail[:, None, :] * self._weights).sum(dim=2) + self._biases


def thumbnails(pixels: torch.Tensor, grid: int) -> torch.Tensor:
    """The thumbnails (B, grid * grid), float64, of pixels (B, C, H, W): means over channels and equal rectangles."""
    sides = pixels.shape[2] // grid, pixels.shape[3] // grid
    return F.avg_pool2d(pixels.double().mean(dim=1, keepdim=True), sides).flatten(1)
