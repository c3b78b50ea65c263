"""Noisy pixels by the law of the device, and their drawing beside the work of the encoder."""

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.smoothing.fused_noise import PIXELS, FusedNoise, InputForm, fused_noise_is_exact
from certrad.models.smoothing.noise import GRID, Noise, Stream, boxmuller

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceNoise:
    """Noisy copies of an image by the law `philox-boxmuller-f64`, drawn on the device.

    Attributes:
        noise: The key and the law.
        image: (C, H, W), float64, on the device.
        sigma: Noise standard deviation in pixels of [0, 1].
        fused: The kernel, where it was found to equal the eager law on this device.
    """

    noise: Noise
    image: torch.Tensor
    sigma: float
    fused: FusedNoise | None
    _grid: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_grid", torch.tensor(float(GRID), device=self.image.device))

    @staticmethod
    def of(
        image: NDArray[Any], sigma: float, noise: Noise, device: torch.device, form: InputForm = PIXELS
    ) -> "DeviceNoise":
        """Returns the noisy copies of an image; it is moved to the device only once.

        Args:
            image: (C, H, W).
            sigma: Noise standard deviation in pixels of [0, 1].
            noise: The key and the law.
            device: Where they are drawn.
            form: The form of what is drawn.

        Raises:
            ValueError: Only the kernel draws the form, and the device does not use it.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64)).to(device)
        exact = fused_noise_is_exact(device)
        if form != PIXELS and not exact:
            raise ValueError(f"only pixels can be drawn on {device}, where the fused kernel is not used")
        fused = FusedNoise(key=noise.key, image=pixels, sigma=sigma, form=form) if exact else None
        return DeviceNoise(noise=noise, image=pixels, sigma=sigma, fused=fused)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Returns what drawing reads on the device."""
        return (self.image, self._grid) if self.fused is None else self.fused.tensors

    def pixels(self, stream: Stream, indices: range) -> torch.Tensor:
        """Returns the samples, (len(indices), C, H, W), float32 pixels or in the form of the kernel.

        Args:
            stream: What the noise is for.
            indices: The samples, consecutive ones.
        """
        if self.fused is not None:
            return self.fused.inputs(stream, indices)
        eps = boxmuller(self.noise.key, stream, indices, self.image.numel(), self.image.device)
        k = eps.mul_(self.sigma).add_(self.image.reshape(-1)).mul_(GRID).round_()
        # CUDA multiplies by the reciprocal of a Python number, which is not k / 255; by a tensor it divides.
        return k.to(torch.float32).div_(self._grid).reshape(len(indices), *self.image.shape)


@cache
def _stream_beside(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Streams(Protocol[Event]):
    """Two streams of a device: that of the caller, and one beside it."""

    def beside(self) -> AbstractContextManager[object]:
        """Returns a context whose work goes to the stream beside."""

    def mark(self) -> Event:
        """Returns an event that happens when the stream beside has done all its work of now."""

    def lend(self, tensors: Iterable[torch.Tensor]) -> None:
        """Keeps the memory of tensors of the caller's stream until the stream beside is done with them.

        Args:
            tensors: What the stream beside reads.
        """

    def take(self, event: Event, made: torch.Tensor) -> None:
        """Has the caller's stream wait for an event, and keeps the memory of what was made until it is done with it.

        Args:
            event: A mark.
            made: What the stream beside had made by then.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CudaStreams:
    """The streams of a CUDA device. Neither the host nor the caller's stream waits for more than one event.

    No GPU has run it.

    Attributes:
        side: The stream beside that of the caller.
    """

    side: torch.cuda.Stream

    @staticmethod
    def of(device: torch.device) -> "CudaStreams":
        """Returns the streams of a device; the one beside begins when all work of the caller's of now is done.

        Every caller gets the same one beside: the allocator keeps freed memory for each stream by itself.

        Args:
            device: A CUDA device.
        """
        side = _stream_beside(device)
        side.wait_stream(torch.cuda.current_stream(device))
        return CudaStreams(side=side)

    def beside(self) -> AbstractContextManager[object]:
        """Returns a context whose work goes to the stream beside."""
        context: AbstractContextManager[object] = torch.cuda.stream(self.side)
        return context

    def mark(self) -> torch.cuda.Event:
        """Returns an event that happens when the stream beside has done all its work of now."""
        event: torch.cuda.Event = self.side.record_event()
        return event

    def lend(self, tensors: Iterable[torch.Tensor]) -> None:
        """Keeps the memory of tensors of the caller's stream until the stream beside is done with them.

        Args:
            tensors: What the stream beside reads.
        """
        for tensor in tensors:
            tensor.record_stream(self.side)

    def take(self, event: torch.cuda.Event, made: torch.Tensor) -> None:
        """Has the caller's stream wait for an event, and keeps the memory of what was made until it is done with it.

        Args:
            event: A mark.
            made: What the stream beside had made by then.
        """
        caller = torch.cuda.current_stream(self.side.device)
        caller.wait_event(event)
        # The allocator knows only the stream that the tensor was made on, and would give its memory to that one again.
        made.record_stream(caller)


def drawn_beside(
    draw: Callable[[int], torch.Tensor],
    starts: Iterable[int],
    streams: Streams[Event],
    *,
    reads: Iterable[torch.Tensor] = (),
) -> Generator[tuple[int, torch.Tensor], None, None]:
    """Yields (start, draw(start)) for every start, in order; the next one is in the making while the caller has one.

    Three batches are in memory at once, and no more: that of the caller, the next, and the one in the making.

    Args:
        draw: Draws a batch; it waits for nothing on the host.
        starts: Indices of first samples.
        streams: Where it draws, and who waits for it.
        reads: Tensors of the caller's stream that `draw` reads.
    """
    streams.lend(reads)
    ready: tuple[int, torch.Tensor, Event] | None = None
    for start in starts:
        with streams.beside():
            made = draw(start)
        drawn = start, made, streams.mark()
        if ready is not None:
            streams.take(ready[2], ready[1])
            yield ready[0], ready[1]
        ready = drawn
    if ready is not None:
        streams.take(ready[2], ready[1])
        yield ready[0], ready[1]
