"""The map from a noisy rendered image to the model input: the resize inside the base classifier, without its clip."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certrad.models.images.model_input import axis_resizes
from certrad.models.images.resize import AxisResize
from certrad.models.types.noise_space import ImageMap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelMap:
    """T: a linear map from images (C, H, W) to model inputs (3, S, S), one image at a time.

    It is that of `certrad.models.images.model_input`, but nothing is clipped, so that noise is not bent. Sums are those
    of float64 in a fixed order, and each image is mapped by itself: its model input has the same bytes on every
    machine, on CPU and GPU, whatever other images are in the batch.

    Attributes:
        rows: The resize of the vertical axis, (H,) to (S,).
        columns: The resize of the horizontal axis, (W,) to (S,).
        size: S.
    """

    rows: AxisResize
    columns: AxisResize
    size: int
    _on_devices: dict[torch.device, tuple["_DeviceResize", ...]] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def of(image: ImageMap, size: int) -> "PixelMap":
        """Returns the map of images of one shape.

        Args:
            image: The shape, and how it becomes a square.
            size: Side of the model input in pixels.

        Raises:
            ValueError: The part that is named is not the one that the model input is made of.
            Rejected: See `certrad.models.images.model_input.model_input`.
        """
        vertical, horizontal = axis_resizes((image.of_rows, image.of_columns), size, image.fit)
        read = len(vertical.samples), len(horizontal.samples)
        if read != (image.rows, image.columns):
            raise ValueError(
                f"the model input is made of {read[0]} x {read[1]} pixels, got {image.rows} x {image.columns}"
            )
        return PixelMap(rows=vertical.on_samples(), columns=horizontal.on_samples(), size=size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns (channels, height, width) of a model input."""
        return 3, self.size, self.size

    def of_array(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the model input (3, S, S) of one image (C, H, W), in this thread."""
        return np.broadcast_to(self.in_float64(pixels.astype(np.float64)).astype(np.float32), self.shape)

    def in_float64(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns one image (C, H, W) resized to (C, S, S), before it is rounded to float32."""
        for axis, resize in self._in_order:
            pixels = resize.apply(pixels, axis + 1)
        return pixels

    def of_tensor(self, pixels: Tensor) -> Tensor:
        """Returns the model inputs (B, 3, S, S) of images (B, C, H, W), differentiable, on their device."""
        resized = pixels.double()
        for resize in self._on(pixels.device):
            resized = resize.apply(resized)
        return resized.float().expand(-1, *self.shape)

    def tensors(self, device: torch.device) -> Iterable[Tensor]:
        """Returns what `of_tensor` reads on a device beside the images; it is moved there once, here or there.

        Args:
            device: The device of the images.
        """
        return [tensor for resize in self._on(device) for tap in resize.taps for tensor in tap]

    def _on(self, device: torch.device) -> tuple["_DeviceResize", ...]:
        if device not in self._on_devices:
            self._on_devices[device] = tuple(_DeviceResize.of(resize, axis, device) for axis, resize in self._in_order)
        return self._on_devices[device]

    @property
    def _in_order(self) -> list[tuple[int, AxisResize]]:
        """Returns the axes with the longer one first: it shrinks most."""
        return sorted(enumerate((self.rows, self.columns)), key=lambda each: -each[1].n)


@dataclass(frozen=True, slots=True, eq=False)
class _DeviceResize:
    """`AxisResize.apply` by the same operations in the same order, in torch, with its numbers on a device.

    Attributes:
        axis: The axis of a batch of images (B, C, H, W).
        taps: For each tap the samples that it reads, int64 (rows,), and their weights, (rows, 1) or (1, rows).
    """

    axis: int
    taps: tuple[tuple[Tensor, Tensor], ...]

    @staticmethod
    def of(resize: AxisResize, axis: int, device: torch.device) -> "_DeviceResize":
        """Moves the numbers of a resize to a device.

        Args:
            resize: The resize.
            axis: The axis of an image that it resizes, 0 or 1.
            device: The device.
        """
        shape = (-1, 1) if axis == 0 else (1, -1)
        taps = []
        for tap in range(resize.taps):
            source = np.minimum(resize.first + tap, resize.n - 1)
            weights = np.ascontiguousarray(resize.weights[:, tap])
            taps.append((torch.from_numpy(source).to(device), torch.from_numpy(weights).to(device).reshape(shape)))
        return _DeviceResize(axis + 2, tuple(taps))

    def apply(self, pixels: Tensor) -> Tensor:
        """Returns the resized images, float64.

        Args:
            pixels: Images, float64.
        """
        resized = torch.zeros((), dtype=torch.float64, device=pixels.device)
        for source, weights in self.taps:
            resized = resized + weights * pixels.index_select(self.axis, source)
        return resized
