"""Noisy copies of an image behind its encoder: one pass of them serves every classifier of their features."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from certrad.models.smoothing.noise import Stream
from certrad.models.smoothing.sampling import NoisySampler


class Head(Protocol):
    """What a base classifier makes of image features: all of it that stands behind the image encoder."""

    @property
    def n_classes(self) -> int:
        """The number K of classes."""

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Logits (B, K), float32 and differentiable, of image features (B, D)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedSampler(NoisySampler):
    """A sampler of image features: each batch passes the encoder once, whoever asks for it and however often.

    encode: image features (B, D) of pixels (B, C, H, W).
    """

    encode: Callable[[Tensor], Tensor]
    _encoded: dict[tuple[Stream, int], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, sampler: NoisySampler, encode: Callable[[Tensor], Tensor]) -> "EncodedSampler":
        """The features of a sampler of pixels: its image, noise and batches."""
        return cls(
            image=sampler.image,
            sigma=sampler.sigma,
            noise=sampler.noise,
            batch_size=sampler.batch_size,
            device=sampler.device,
            encode=encode,
        )

    def with_sigma(self, sigma: float) -> "EncodedSampler":
        """The same noise at another sigma, of which no feature is known yet."""
        return replace(self, sigma=sigma, _encoded={})

    def batches(self, stream: Stream, starts: Iterable[int]) -> Generator[tuple[int, Tensor], None, None]:
        """(start, `batch(stream, start)`) for every start, drawn in this thread."""
        return ((start, self.batch(stream, start)) for start in starts)

    def batch(self, stream: Stream, start: int) -> Tensor:
        """Image features (batch_size, D) of samples start .. start + batch_size - 1 of `stream`."""
        if (stream, start) not in self._encoded:
            with torch.inference_mode():
                self._encoded[stream, start] = self.encode(NoisySampler.batch(self, stream, start))
        return self._encoded[stream, start]

    def first(self, stream: Stream, n: int) -> Tensor:
        """Image features (n, D) of the first n samples of `stream`."""
        return torch.cat([self.batch(stream, start) for start in range(0, n, self.batch_size)])[:n]

    def classifier(self, head: Head) -> "FeatureClassifier":
        """The base classifier of a head, for `select` and `estimate` with this sampler."""
        channels, height, width = self.image.shape
        return FeatureClassifier(head, (channels, height, width), self.device)


@dataclass(frozen=True, slots=True)
class FeatureClassifier:
    """A head as a base classifier whose input has passed the encoder already.

    input_shape: of the pixels, before the encoder.
    """

    head: Head
    input_shape: tuple[int, int, int]
    device: torch.device

    @property
    def n_classes(self) -> int:
        """K."""
        return self.head.n_classes

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of a batch of an `EncodedSampler`: image features (B, D)."""
        return self.head.logits_of_features(pixels)


@dataclass(frozen=True, slots=True)
class EncodingClassifier(FeatureClassifier):
    """A head behind its encoder as a base classifier of pixels. encode: see `EncodedSampler`."""

    encode: Callable[[Tensor], Tensor]

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits (B, K), differentiable, of pixels (B, C, H, W)."""
        return self.head.logits_of_features(self.encode(pixels))
