"""The law `philox-boxmuller-f64` in one kernel: from counters to model inputs, without numbers in between in memory.

The eager law in `noise.boxmuller` is the definition and the fallback. The kernel makes the same words, the same noisy
pixels but where a normal lies within some 1e-14 of a rounding boundary, and no law of its own: the certificate names
the same one. A device uses it only after it was compared with the eager law in this process, `fused_noise_is_exact`.

Total variation. The kernel computes what the eager law computes, one operation at a time: its launch forbids to fuse
products with sums, and a fused one would be rounded once less. Its logarithm errs by at most 1, its sine and cosine by
at most 2 units in the last place (CUDA C++ Programming Guide, mathematical functions of double precision), its root by
half a unit, so that a normal errs by at most (8.2 + 1 + 2) u r, below the 16 u r that `total_variation` pays for.
Noisy pixel and normalisation are functions of the integer k: (k / 255 - mean) / std in float32, as the encoder's own.

Kernels were compiled for CUDA (`sm_80`, `sm_90`) and run in Triton's interpreter on a CPU. No GPU has run them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import torch

from certrad.models.smoothing.noise import Stream, two_words

_BLOCK: Final = 256
"""Pairs of one program."""
_INDEX_MAX: Final = 1 << 31
LAUNCH: Final = {"num_warps": 4, "enable_fp_fusion": False}
"""How the kernels are compiled: two pairs for each thread, and every product and sum rounded by itself."""

_exact: Final[set[str]] = set()
"""The devices on which the kernel gave what the eager law gives, in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputForm:
    """The form of what the kernel writes.

    Attributes:
        dtype: The dtype: float32, or that of an encoder.
        channels_last: Whether the channels of a pixel lie side by side in memory.
        mean: Taken off each channel, with `std`; without, the pixels stay in the units of [0, 1].
        std: Divides each channel after that.
    """

    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean and std must be of the same channels, got {len(self.mean)} and {len(self.std)}")


PIXELS: Final = InputForm()
"""Float32 pixels in the units of [0, 1], what every base classifier takes."""


def fused_noise_is_exact(device: torch.device) -> bool:
    """Returns whether the kernel was compared with the eager law on this device, in this process, and equalled it.

    Args:
        device: The device.
    """
    return str(device) in _exact


def record_comparison(device: torch.device, *, exact: bool) -> None:
    """Records whether the kernel equals the eager law on a device; from then on samplers there use it, or do not.

    Args:
        device: The device.
        exact: Whether it does.
    """
    if exact:
        _exact.add(str(device))
    else:
        _exact.discard(str(device))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FusedNoise:
    """The noisy copies of an image on a device, by the kernel.

    Everything that the kernel reads is moved to the device once, so that drawing a batch waits for nothing.

    Attributes:
        key: 32 bytes.
        image: (C, H, W), float64, on the device.
        sigma: Noise standard deviation in pixels of [0, 1].
        form: The form of the inputs.
    """

    key: bytes
    image: torch.Tensor
    sigma: float
    form: InputForm = PIXELS
    _key: torch.Tensor = field(init=False)
    _sigma: torch.Tensor = field(init=False)
    _normalisation: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        channels, device = len(self.image), self.image.device
        if self.form.mean and len(self.form.mean) != channels:
            raise ValueError(f"mean and std must be of {channels} channels, got {len(self.form.mean)}")
        object.__setattr__(self, "image", self.image.contiguous())
        object.__setattr__(self, "_key", _key_on(self.key, device))
        object.__setattr__(self, "_sigma", torch.tensor([self.sigma], dtype=torch.float64, device=device))
        numbers = [*self.form.mean, *self.form.std] or [0.0]
        object.__setattr__(self, "_normalisation", torch.tensor(numbers, dtype=torch.float32, device=device))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Returns what the kernel reads."""
        return self.image, self._key, self._sigma, self._normalisation

    def inputs(self, stream: Stream, indices: range) -> torch.Tensor:
        """Returns the samples of a stream, (len(indices), C, H, W) in the form of the inputs.

        Args:
            stream: What the noise is for.
            indices: The samples, consecutive ones.
        """
        channels, height, width = self.image.shape
        d, area = self.image.numel(), height * width
        layout = torch.channels_last if self.form.channels_last else torch.contiguous_format
        out = torch.empty(
            (len(indices), channels, height, width),
            dtype=self.form.dtype,
            device=self.image.device,
            memory_format=layout,
        )
        with _on(out.device):
            _kernels().pixels_kernel[_grid(d, indices)](
                out,
                self.image,
                self._key,
                self._sigma,
                self._normalisation,
                indices.start,
                int(stream),
                d,
                area,
                channels=channels,
                channels_last=self.form.channels_last,
                normalised=bool(self.form.mean),
                block=_BLOCK,
                **LAUNCH,
            )
        return out


def fused_words(key: bytes, stream: Stream, indices: range, pairs: int, device: torch.device) -> torch.Tensor:
    """Returns the words of every pair by the kernel, int64 (len(indices), pairs, 4), to compare them.

    Args:
        key: 32 bytes.
        stream: What the noise is for.
        indices: The samples, consecutive ones.
        pairs: Pairs of each sample.
        device: The device.
    """
    out = torch.empty((len(indices), pairs, 4), dtype=torch.int64, device=device)
    with _on(device):
        _kernels().words_kernel[_grid(2 * pairs, indices)](
            out, _key_on(key, device), indices.start, int(stream), pairs, block=_BLOCK, **LAUNCH
        )
    return out


def fused_normals(key: bytes, stream: Stream, indices: range, d: int, device: torch.device) -> torch.Tensor:
    """Returns the normals of each sample by the kernel, float64 (len(indices), d), to compare them.

    Args:
        key: 32 bytes.
        stream: What the noise is for.
        indices: The samples, consecutive ones.
        d: Normals of each sample.
        device: The device.
    """
    out = torch.empty((len(indices), d), dtype=torch.float64, device=device)
    with _on(device):
        _kernels().normals_kernel[_grid(d, indices)](
            out, _key_on(key, device), indices.start, int(stream), d, block=_BLOCK, **LAUNCH
        )
    return out


def traffic(shape: Sequence[int], form: InputForm) -> int:
    """Returns the bytes that the kernel reads and writes for one sample, by its own loads and stores.

    Args:
        shape: (C, H, W) of the image.
        form: The form of the inputs.
    """
    d = torch.Size(shape).numel()
    per_value = torch.float64.itemsize + form.dtype.itemsize
    return d * per_value


def _kernels() -> ModuleType:
    """Returns the module of the kernels: Triton is imported only where they run."""
    return import_module("certrad.models.smoothing.fused_kernels")


def _grid(d: int, indices: range) -> tuple[int, int]:
    if indices.step != 1 or indices.stop > _INDEX_MAX or d >= _INDEX_MAX:
        raise ValueError(f"samples must be consecutive, with d and indices below 2^31; got {indices} and {d}")
    return -(-d // (2 * _BLOCK)), len(indices)


def _key_on(key: bytes, device: torch.device) -> torch.Tensor:
    return torch.tensor(two_words(key), dtype=torch.int64, device=device)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a CUDA device the current one, which Triton launches on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
