"""The ways to draw noise on a GPU, and what each of them would launch and move there."""

from dataclasses import dataclass
from typing import Final

import torch

from certrad.bench.common.traffic import count_traffic
from certrad.models.smoothing.device_noise import DeviceNoise
from certrad.models.smoothing.fused_noise import PIXELS, InputForm, traffic
from certrad.models.smoothing.noise import Noise, Stream

SIGMA: Final = 0.25
NOISE: Final = Noise(bytes(32), "philox-boxmuller-f64")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPath:
    """What one way to draw the noise launches and moves for one sample, the normalisation included.

    Attributes:
        path: The way.
        kernels_per_sample: Kernels, of which one serves a whole batch.
        bytes_per_sample: Bytes read and written.
        noise_bytes_per_sample: Those of the noise alone, which is what is drawn without the encoder.
    """

    path: str
    kernels_per_sample: float
    bytes_per_sample: float
    noise_bytes_per_sample: float


def count_paths(shape: tuple[int, int, int], batch_size: int, form: InputForm) -> tuple[CountedPath, ...]:
    """Returns the traffic of every way to draw the noise, up to what the encoder takes, without any computation.

    Args:
        shape: (C, H, W) of the image.
        batch_size: Samples of a batch.
        form: The form of the encoder's inputs.
    """
    meta = torch.device("meta")
    image = torch.empty(shape, dtype=torch.float64, device=meta)
    eager = DeviceNoise(noise=NOISE, image=image, sigma=SIGMA, fused=None)
    pixels = torch.empty((batch_size, *shape), device=meta)
    mean, std = (torch.empty((1, shape[0], 1, 1), device=meta) for _ in range(2))
    noise = count_traffic(lambda: eager.pixels(Stream.ESTIMATE, range(batch_size)))
    normalisation = count_traffic(lambda: ((pixels - mean) / std).to(form.dtype))

    def path(name: str, kernels: float, drawn: float, beside: float) -> CountedPath:
        return CountedPath(
            path=name,
            kernels_per_sample=kernels / batch_size,
            bytes_per_sample=(drawn + beside) / batch_size,
            noise_bytes_per_sample=drawn / batch_size,
        )

    fused, with_form = (batch_size * traffic(shape, each) for each in (PIXELS, form))
    return (
        path("torch operations", noise.kernels + normalisation.kernels, noise.bytes, normalisation.bytes),
        path("fused kernel", 1 + normalisation.kernels, fused, normalisation.bytes),
        path("fused kernel, normalised inputs", 1, with_form, 0),
    )
