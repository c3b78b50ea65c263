"""Noisy copies of an image in aligned batches, and the labels of their logits."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.smoothing.device_noise import CudaStreams, DeviceNoise, drawn_beside
from certrad.models.smoothing.fused_noise import PIXELS, InputForm, fused_noise_is_exact
from certrad.models.smoothing.input_map import InputMap
from certrad.models.smoothing.noise import CPU_LAWS, GRID, Noise, Stream
from certrad.models.types import ETA, LabelCounts
from certrad.models.types.total_variation import total_variation

LABEL_DTYPE: Final = np.dtype("<u2")
"""Labels are stored as little-endian 16-bit integers."""

_VALUES_AT_ONCE: Final = 1 << 24  # of noisy images on a device, before they are mapped
_LOOK_AHEAD: Final = 2  # batches drawn ahead: one in the making, one ready


class Sampler(Protocol):
    """Draws batches of inputs of a base classifier: noisy pixels, or what an encoder makes of them.

    Batch b always holds samples b * batch_size .. (b + 1) * batch_size - 1.
    """

    @property
    def batch_size(self) -> int:
        """Returns the number of samples of every batch."""

    def batches(self, stream: Stream, starts: Iterable[int]) -> Generator[tuple[int, torch.Tensor], None, None]:
        """Yields (start, inputs) for every start, in order; close it where the loop may stop early.

        Args:
            stream: What the noise is for.
            starts: Indices of first samples, multiples of the batch size.
        """


class BaseClassifier(Protocol):
    """The classifier f that is smoothed: a fixed function of one noisy image.

    A sample's logits must not depend on its companions in the batch. Preprocessing, normalisation and the cast to its
    own dtype happen inside.
    """

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns (channels, height, width) of the image that is classified."""

    @property
    def n_classes(self) -> int:
        """Returns the number K of classes."""

    @property
    def device(self) -> torch.device:
        """Returns the device of its inputs."""

    def logits(self, inputs: torch.Tensor, /) -> torch.Tensor:
        """Returns the logits (B, K), of any float dtype, of a batch of a `Sampler`.

        Args:
            inputs: For a `NoisySampler`, float32 pixels (B, C, H, W), noise included and not clipped to [0, 1].
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisySampler:
    """Draws z = rint((x + sigma eps) * 255) / 255, unclipped, in batches of fixed size.

    Rounding to the grid *after* adding in float64 makes z a function of the real Gaussian mechanism: no low-order bit
    of z tells x apart from its neighbours, as bits of a float32 sum do (Voracek & Hein 2023). What is left of the
    difference, `total_variation`, is within ETA, which the bounds pay for.

    Attributes:
        image: (channels, height, width), float32 or float64, in [0, 1]: what noise is added to.
        sigma: Noise standard deviation in pixels of [0, 1].
        noise: The key and the law of the noise.
        batch_size: Rows of every batch. Batch b always holds samples b * batch_size .. (b + 1) * batch_size - 1, so
            that the companions of a sample, and with them its last bits in any kernel, do not depend on who computes
            it.
        device: Where the batches are made.
        pixel_map: The map from a noisy image to an input of the base classifier, which is then a part of that
            classifier, applied where the image is drawn; None where the noisy image is the input.
        form: The form of the inputs; another one than `PIXELS` only where `in_form` gave it.
    """

    image: NDArray[Any]
    sigma: float
    noise: Noise
    batch_size: int
    device: torch.device
    pixel_map: InputMap | None = None
    form: InputForm = PIXELS

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"image must be (C, H, W) of float32 or float64, got {self.image.shape} of {self.image.dtype}"
            )
        if not (self.image.min() >= 0 and self.image.max() <= 1):  # also refuses NaN
            raise ValueError(f"pixels must be in [0, 1], got {self.image.min()!r}..{self.image.max()!r}")
        if not self.sigma > 0:
            raise ValueError(f"sigma must be > 0, got {self.sigma!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size!r}")
        spent = total_variation(self.noise.law, self.sigma, self.image.size)
        if not spent <= ETA:
            raise ValueError(
                f"the noise of {self.image.size} coordinates at sigma={self.sigma!r} may be {spent:.1e} away from "
                f"Gaussian, more than the {ETA} that the bounds pay for"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns (channels, height, width) of one input of the base classifier."""
        if self.pixel_map is not None:
            return self.pixel_map.shape
        channels, height, width = self.image.shape
        return channels, height, width

    def with_sigma(self, sigma: float) -> "NoisySampler":
        """Returns the sampler of the same noise at another sigma.

        Args:
            sigma: Noise standard deviation in pixels of [0, 1].
        """
        return replace(self, sigma=sigma)

    def in_form(self, form: InputForm) -> "NoisySampler | None":
        """Returns the sampler of the same noise whose inputs have this form, or None where only pixels can be drawn.

        Args:
            form: The form, whose normalisation is that of the image's channels.
        """
        by_kernel = self.noise.law not in CPU_LAWS and fused_noise_is_exact(self.device)
        return replace(self, form=form) if by_kernel and self.pixel_map is None else None

    def batches(self, stream: Stream, starts: Iterable[int]) -> Generator[tuple[int, torch.Tensor], None, None]:
        """Yields (start, `batch(stream, start)`) for every start, in order.

        A law of the CPU draws the next batches in a background thread, which ends when the iterator is exhausted or
        closed: close it (`contextlib.closing`) where the loop may stop early. On CUDA the next batch is drawn on a
        stream of its own, beside what the caller computes of this one.

        Args:
            stream: What the noise is for.
            starts: Indices of first samples, multiples of the batch size.
        """
        if self.noise.law in CPU_LAWS:
            return drawn_ahead(lambda start: self.batch(stream, start), starts)
        return self._device_batches(stream, starts)

    def batch(self, stream: Stream, start: int) -> torch.Tensor:
        """Returns inputs start .. start + batch_size - 1 of `stream`: (batch_size, C, H, W) on the device.

        Args:
            stream: What the noise is for.
            start: Index of the first sample.

        Raises:
            ValueError: `start` is not a multiple of batch_size.
        """
        indices = self._indices(start)
        if self.noise.law in CPU_LAWS:
            return self._rows_on_cpu(stream, indices)
        return self._inputs_on_device(self._device_noise(), stream, indices)

    def sample(self, stream: Stream, index: int) -> torch.Tensor:
        """Returns one sample, (1, C, H, W) float32 on the device.

        Args:
            stream: What the noise is for.
            index: The sample.
        """
        return replace(self, batch_size=1).batch(stream, index)

    def _indices(self, start: int) -> range:
        if start < 0 or start % self.batch_size:
            raise ValueError(f"start must be a multiple of the batch size {self.batch_size}, got {start!r}")
        return range(start, start + self.batch_size)

    def _device_noise(self) -> DeviceNoise:
        return DeviceNoise.of(self.image, self.sigma, self.noise, self.device, self.form)

    def _device_batches(self, stream: Stream, starts: Iterable[int]) -> Generator[tuple[int, torch.Tensor], None, None]:
        noise = self._device_noise()

        def draw(start: int) -> torch.Tensor:
            return self._inputs_on_device(noise, stream, self._indices(start))

        if self.device.type == "cuda":
            of_map = () if self.pixel_map is None else self.pixel_map.tensors(self.device)
            reads = (*noise.tensors, *of_map)  # made before the stream beside begins
            yield from drawn_beside(draw, starts, CudaStreams.of(self.device), reads=reads)
        else:
            yield from ((start, draw(start)) for start in starts)

    # Every law: k = rint((x + sigma eps) * 255) in float64, one operation at a time, in the memory of eps. From there
    # on everything is a function of the integer k, |k| < 2^24, so float32 is enough: its k / 255 is the float64 one
    # rounded once more, for no k / 255 lies near enough to the middle of two float32 numbers for them to differ.

    def _rows_on_cpu(self, stream: Stream, indices: range) -> torch.Tensor:
        x, normals = self.image.astype(np.float64).ravel(), CPU_LAWS[self.noise.law]
        rows = np.empty((len(indices), *self.input_shape), dtype=np.float32)
        noisy = np.empty(self.image.shape, dtype=np.float32)
        for row, eps in zip(rows, normals(self.noise.key, stream, indices, x.size), strict=True):
            eps *= self.sigma
            eps += x
            eps *= GRID
            pixels = row if self.pixel_map is None else noisy
            pixels.reshape(-1)[:] = np.rint(eps, out=eps)
            pixels /= GRID
            if self.pixel_map is not None:
                row[:] = self.pixel_map.of_array(noisy)
        return torch.from_numpy(rows).to(self.device)

    def _inputs_on_device(self, noise: DeviceNoise, stream: Stream, indices: range) -> torch.Tensor:
        if self.pixel_map is None:
            return noise.pixels(stream, indices)
        step = max(1, _VALUES_AT_ONCE // self.image.size)  # each image is mapped by itself
        parts = [indices[first : first + step] for first in range(0, len(indices), step)]
        return torch.cat([self.pixel_map.of_tensor(noise.pixels(stream, part)) for part in parts])


def labels(logits: torch.Tensor) -> NDArray[np.uint16]:
    """Returns the label of each row: the largest logit, the lowest index among ties, K (`invalid`) if not finite.

    Args:
        logits: (B, K).
    """
    values = logits.double().cpu().numpy()
    winners = np.where(np.isfinite(values).all(axis=1), values.argmax(axis=1), values.shape[1])
    return np.asarray(winners, dtype=LABEL_DTYPE)


def count(labels: NDArray[np.uint16], n_classes: int) -> LabelCounts:
    """Returns how often each of the classes 0..n_classes - 1, and n_classes (`invalid`), occurs among the labels.

    Args:
        labels: uint16.
        n_classes: The number K of classes.

    Raises:
        ValueError: A label is above n_classes.
    """
    if labels.size and labels.max() > n_classes:
        raise ValueError(f"labels must be in 0..{n_classes}, got {labels.max()}")
    *per_class, invalid = np.bincount(labels, minlength=n_classes + 1).tolist()
    return LabelCounts(per_class=tuple(per_class), invalid=invalid)


def drawn_ahead(
    draw: Callable[[int], torch.Tensor], starts: Iterable[int]
) -> Generator[tuple[int, torch.Tensor], None, None]:
    """Yields (start, `draw(start)`) for every start, in order; a background thread draws the next ones.

    Args:
        draw: Draws a batch.
        starts: Indices of first samples.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="noise")
    pending: deque[tuple[int, Future[torch.Tensor]]] = deque()
    try:
        for start in starts:
            pending.append((start, pool.submit(draw, start)))
            if len(pending) > _LOOK_AHEAD:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
