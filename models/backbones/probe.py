"""What is measured on a device at start-up: the faster memory format of an image tower, and the batch that fits."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from certrad.models.backbones.base import Backbone

Action = Callable[[], object]

MARGIN: Final = 1.03
"""How many times as fast channels-last must be to be chosen: less may be chance, and engines should choose alike."""
SMALLEST_BATCH: Final = 16
_ROUNDS: Final = 5
_PROBED: Final = 16  # samples of the batch whose memory is measured
_SHARE: Final = 2
"""One part in so many of the free memory is for a batch of the encoder; the rest is for noise, graphs and others."""


class Probe(Protocol):
    """Measures a device."""

    def seconds(self, action: Action, /) -> float:
        """Returns how long an action takes, what it launched included."""

    def peak_bytes(self, action: Action, /) -> int:
        """Returns how much more memory an action has at most at once than there was in use before."""

    def free_bytes(self) -> int:
        """Returns the memory that a batch could have now."""


@dataclass(frozen=True, slots=True)
class CudaProbe:
    """Measures a CUDA device. No GPU has run it.

    Attributes:
        device: The device.
    """

    device: torch.device

    def seconds(self, action: Action, /) -> float:
        """Returns how long an action takes, what it launched included."""
        torch.cuda.synchronize(self.device)
        began = time.perf_counter()
        action()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - began

    def peak_bytes(self, action: Action, /) -> int:
        """Returns how much more memory an action has at most at once than there was in use before."""
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        action()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before

    def free_bytes(self) -> int:
        """Returns the memory that a batch could have now: the free one, and what the allocator holds unused."""
        free, _ = torch.cuda.mem_get_info(self.device)
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(free) + unused


def probe_of(device: torch.device) -> Probe | None:
    """Returns what measures a device; None for a CPU, whose memory format and batch are fixed.

    Args:
        device: The device.
    """
    return CudaProbe(device) if device.type == "cuda" else None


def is_faster_in_channels_last(backbone: Backbone, batch_size: int, probe: Probe) -> bool:
    """Returns whether an image tower is faster by `MARGIN` with the channels of a pixel side by side in memory.

    Args:
        backbone: The backbone, in the other memory format.
        batch_size: Samples of a batch.
        probe: Measures its device.
    """
    other = backbone.in_memory_format(channels_last=True)
    inputs = _inputs(backbone, batch_size)
    beside = inputs.contiguous(memory_format=torch.channels_last)

    def contiguous() -> object:
        return backbone.encode_normalised(inputs)

    def channels_last() -> object:
        return other.encode_normalised(beside)

    with torch.inference_mode():
        contiguous(), channels_last()  # the first pass of a shape prepares kernels and memory
        ratios = [probe.seconds(contiguous) / probe.seconds(channels_last) for _ in range(_ROUNDS)]
    return statistics.median(ratios) >= MARGIN


def batch_that_fits(backbone: Backbone, most: int, probe: Probe) -> int:
    """Returns the samples of a batch: `most`, halved until a batch of the image tower has its share of the free memory.

    More memory gives no larger batch: a certificate computes whole batches, and with a target radius it can stop after
    each.

    Args:
        backbone: The backbone.
        most: Samples of the largest batch.
        probe: Measures its device.
    """
    inputs = _inputs(backbone, _PROBED)
    with torch.inference_mode():
        each = probe.peak_bytes(lambda: backbone.encode_normalised(inputs)) / _PROBED
    size, free = most, probe.free_bytes()
    while size > SMALLEST_BATCH and size * each > free / _SHARE:
        size = max(SMALLEST_BATCH, size // 2)
    return size


def _inputs(backbone: Backbone, rows: int) -> torch.Tensor:
    side = backbone.image_size
    return torch.zeros((rows, 3, side, side), dtype=backbone.dtype, device=backbone.device)
