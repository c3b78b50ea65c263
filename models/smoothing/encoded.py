"""Noisy copies of an image behind its encoder; all classifiers of their features share one pass."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from certrad.models.smoothing.noise import Stream
from certrad.models.smoothing.sampling import NoisySampler


class Head(Protocol):
    """The part of a base classifier behind the image encoder: a function of image features."""

    @property
    def n_classes(self) -> int:
        """Returns the number K of classes."""

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Returns logits (B, K), float32 and differentiable, of image features (B, D)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedSampler:
    """Draws image features: each batch passes the encoder only once.

    It satisfies `Sampler`; the classifiers of its batches are `FeatureClassifier`s.

    Attributes:
        pixels: Draws the noisy pixels.
        encode: Image features (B, D) of pixels (B, C, H, W).
    """

    pixels: NoisySampler
    encode: Callable[[Tensor], Tensor]
    _encoded: dict[tuple[Stream, int], Tensor] = field(default_factory=dict, init=False)

    @property
    def batch_size(self) -> int:
        """Returns the number of samples of every batch."""
        return self.pixels.batch_size

    def batches(self, stream: Stream, starts: Iterable[int]) -> Generator[tuple[int, Tensor], None, None]:
        """Yields (start, `batch(stream, start)`) for every start, in order; draws in this thread.

        Args:
            stream: What the noise is for.
            starts: Indices of first samples, multiples of the batch size.
        """
        return ((start, self.batch(stream, start)) for start in starts)

    def batch(self, stream: Stream, start: int) -> Tensor:
        """Returns image features (batch_size, D) of samples start .. start + batch_size - 1 of `stream`.

        Args:
            stream: What the noise is for.
            start: Index of the first sample, a multiple of the batch size.
        """
        if (stream, start) not in self._encoded:
            with torch.inference_mode():
                self._encoded[stream, start] = self.encode(self.pixels.batch(stream, start))
        return self._encoded[stream, start]

    def first(self, stream: Stream, n: int) -> Tensor:
        """Returns image features (n, D) of the first n samples of `stream`.

        Args:
            stream: What the noise is for.
            n: Samples.
        """
        return torch.cat([self.batch(stream, start) for start in range(0, n, self.batch_size)])[:n]

    def classifier(self, head: Head) -> "FeatureClassifier":
        """Returns the base classifier of a head, for `select` and `estimate` with this sampler.

        Args:
            head: The part behind the encoder.
        """
        return FeatureClassifier(head, self.pixels.input_shape, self.pixels.device)


@dataclass(frozen=True, slots=True)
class FeatureClassifier:
    """A head as the base classifier of the batches of an `EncodedSampler`.

    Attributes:
        head: The part behind the encoder.
        input_shape: (channels, height, width) of the image, before the encoder.
        device: Where the features are.
    """

    head: Head
    input_shape: tuple[int, int, int]
    device: torch.device

    @property
    def n_classes(self) -> int:
        """Returns the number K of classes."""
        return self.head.n_classes

    def logits(self, features: Tensor, /) -> Tensor:
        """Returns logits (B, K) of image features (B, D)."""
        return self.head.logits_of_features(features)


@dataclass(frozen=True, slots=True)
class EncodingClassifier:
    """A head behind its encoder as the base classifier of pixels.

    Attributes:
        head: The part behind the encoder.
        input_shape: (channels, height, width) of the pixels.
        device: Where the pixels are.
        encode: Image features (B, D) of pixels (B, C, H, W).
    """

    head: Head
    input_shape: tuple[int, int, int]
    device: torch.device
    encode: Callable[[Tensor], Tensor]

    @property
    def n_classes(self) -> int:
        """Returns the number K of classes."""
        return self.head.n_classes

    def logits(self, pixels: Tensor, /) -> Tensor:
        """Returns logits (B, K), differentiable, of pixels (B, C, H, W)."""
        return self.head.logits_of_features(self.encode(pixels))
