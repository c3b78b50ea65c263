"""The selector of automatic sigma: a fixed, linear function of one noisy sample that selects a route."""

import torch
from torch.nn import functional as F

from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types.routing import SigmaRouting


class RouteSelector:
    """Selects the route with the largest weights . thumbnail + bias; a base classifier whose classes are the routes.

    Averaging over a rectangle takes most of the noise away, so that nearly all samples of an image agree and a route is
    excluded within a large radius; and it costs no pass of the encoder.
    """

    def __init__(self, routing: SigmaRouting, input_shape: tuple[int, int, int], device: torch.device) -> None:
        """Prepares the selector for images of one shape.

        Args:
            routing: Weights, biases and grid.
            input_shape: (channels, height, width), both sides divisible by the grid.
            device: Where it computes.

        Raises:
            ValueError: The grid does not divide a side.
        """
        if input_shape[1] % routing.grid or input_shape[2] % routing.grid:
            raise ValueError(f"a grid of {routing.grid} must divide the sides of {input_shape}")
        self.input_shape = input_shape
        self.device = device
        self._grid = routing.grid
        self._weights = torch.tensor(routing.weights, dtype=torch.float64, device=device)
        self._biases = torch.tensor(routing.biases, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, sampler: NoisySampler, routing: SigmaRouting) -> "RouteSelector":
        """Returns the selector of the sampler's image.

        Args:
            sampler: Draws noisy copies of the image.
            routing: Weights, biases and grid.
        """
        return cls(routing, sampler.input_shape, sampler.device)

    @property
    def n_classes(self) -> int:
        """Returns the number of routes."""
        return len(self._biases)

    def logits(self, pixels: torch.Tensor, /) -> torch.Tensor:
        """Returns scores (B, routes), float64, of noisy pixels (B, C, H, W)."""
        return self.scores(thumbnails(pixels, self._grid))

    def scores(self, thumbnail: torch.Tensor) -> torch.Tensor:
        """Returns scores (B, routes), float64, of thumbnails (B, grid * grid)."""
        return (thumbnail[:, None, :] * self._weights).sum(dim=2) + self._biases


def thumbnails(pixels: torch.Tensor, grid: int) -> torch.Tensor:
    """Returns thumbnails (B, grid * grid), float64: means over channels and equal rectangles.

    Args:
        pixels: (B, C, H, W).
        grid: Rectangles along each side.
    """
    sides = pixels.shape[2] // grid, pixels.shape[3] // grid
    return F.avg_pool2d(pixels.double().mean(dim=1, keepdim=True), sides).flatten(1)
