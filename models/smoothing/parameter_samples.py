"""Draws samples under noise on the window and on the model input, for a class that was chosen without them."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.smoothing.blocks import Blocks, Layout
from certrad.models.smoothing.labelling import label_batches
from certrad.models.smoothing.noise import CPU_LAWS, Stream
from certrad.models.smoothing.parameter_noise import WindowNoise
from certrad.models.smoothing.parameters import parameter_limits
from certrad.models.smoothing.prefix import prefix
from certrad.models.smoothing.sampling import (
    LABEL_DTYPE,
    BaseClassifier,
    NoisySampler,
    count,
    drawn_ahead,
)
from certrad.models.smoothing.variants import bound_variant
from certrad.models.types import AlphaSplit, LabelCounts
from certrad.models.types.parameters import PUBLISHED_SHARES, ParameterSamples
from certrad.models.types.total_variation import check_variation, total_variation
from certrad.models.types.window_lattice import WindowCell

_RENDERED_BYTES: Final = 64 << 20
"""Memory for model inputs of windows that were drawn before."""

Render = Callable[[WindowCell], NDArray[np.float32]]
"""Returns the model input (3, S, S) of a window, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowSampler:
    """Draws noisy copies of an image, each in a window of its own: a `Sampler`.

    Sample i has the window of parameter stream s | 4 and the pixel noise of stream s, so that its noise on the window
    and on the pixels are independent, and one sample does not share a window with its batch.

    Attributes:
        pixels: The noise on the model input; its image does not matter. Its key is that of the windows too.
        windows: The noise on the window.
        render: Renders a window.
    """

    pixels: NoisySampler
    windows: WindowNoise
    render: Render

    def __post_init__(self) -> None:
        pixels, windows = self.pixels, self.windows
        if pixels.noise != windows.noise or pixels.pixel_map is not None:
            raise ValueError("window and pixels must have the same key and law, and the noise is on the model input")
        spent = total_variation(pixels.noise.law, pixels.sigma, pixels.image.size)
        check_variation(spent, windows.centre, windows.width, windows.sigma)

    @property
    def batch_size(self) -> int:
        """Returns the number of samples of every batch."""
        return self.pixels.batch_size

    def batches(self, stream: Stream, starts: Iterable[int]) -> Generator[tuple[int, torch.Tensor], None, None]:
        """Yields (start, inputs) for every start, in order; see `Sampler.batches`.

        Args:
            stream: What the noise is for.
            starts: Indices of first samples, multiples of the batch size.
        """
        rendered = lru_cache(maxsize=max(1, _RENDERED_BYTES // self.pixels.image.nbytes))(self.render)
        draw = partial(self._batch, rendered, stream)
        if self.pixels.noise.law in CPU_LAWS:
            return drawn_ahead(draw, starts)
        return ((start, draw(start)) for start in starts)

    def _batch(self, rendered: Render, stream: Stream, start: int) -> torch.Tensor:
        if start < 0 or start % self.batch_size:
            raise ValueError(f"start must be a multiple of the batch size {self.batch_size}, got {start!r}")
        indices = range(start, start + self.batch_size)
        drawn = zip(self.windows.draw(stream, indices), indices, strict=True)
        return torch.cat([self._in_window(rendered(window.cell), stream, index) for window, index in drawn])

    def sample(self, stream: Stream, index: int) -> torch.Tensor:
        """Returns one sample, (1, 3, S, S) float32 on the device.

        Args:
            stream: What the noise is for.
            index: The sample.
        """
        (window,) = self.windows.draw(stream, range(index, index + 1))
        return self._in_window(self.render(window.cell), stream, index)

    def _in_window(self, image: NDArray[np.float32], stream: Stream, index: int) -> torch.Tensor:
        return replace(self.pixels, image=image).sample(stream, index)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRule:
    """What is fixed before the samples are drawn.

    Attributes:
        class_index: The class that the selection samples of the certificate chose.
        n: Estimation samples.
        split: The shares of alpha.
    """

    class_index: int
    n: int
    split: AlphaSplit

    def estimate(
        self,
        sampler: WindowSampler,
        base_classifier: BaseClassifier,
        blocks: Blocks,
        on_samples: Callable[[int], None] = lambda _: None,
    ) -> ParameterSamples:
        """Returns the samples and their bounds; draws the estimation samples that are not committed yet.

        Args:
            sampler: Draws noisy copies in drawn windows.
            base_classifier: The classifier that is smoothed.
            blocks: Where the labels are kept.
            on_samples: Called after each batch with the number of samples that are done; may raise to stop.
        """
        layout = Layout(n=self.n, batch_size=sampler.batch_size, block_size=sampler.batch_size)
        label = partial(label_batches, sampler, base_classifier, Stream.ESTIMATE)
        with closing(prefix(label, layout, blocks)) as batches:
            labels = b""
            for drawn, _ in batches:
                labels += drawn
                on_samples(len(labels) // LABEL_DTYPE.itemsize)
        counts = count(np.frombuffer(labels, LABEL_DTYPE), base_classifier.n_classes)
        return self.bound(sampler, labels, counts)

    def bound(self, sampler: WindowSampler, labels: bytes, counts: LabelCounts) -> ParameterSamples:
        """Returns what samples show of the class: their bounds, the reach, and the published parts of the ellipsoid.

        Args:
            sampler: What drew them.
            labels: Their labels.
            counts: The counts of these.
        """
        bounds = bound_variant(self.class_index, counts, self.split, 1.0)  # a radius at sigma 1 is the reach
        parameter_sigma, sigma = sampler.windows.sigma, sampler.pixels.sigma
        return ParameterSamples(
            class_index=self.class_index,
            key=sampler.windows.noise.key.hex(),
            labels=labels,
            counts=counts,
            p_a_lower=bounds.p_a_lower,
            p_b_upper=bounds.p_b_upper,
            reach=bounds.radius,
            limits=tuple(
                parameter_limits(bounds.p_a_lower, bounds.p_b_upper, parameter_sigma, sigma, shares)
                for shares in (PUBLISHED_SHARES if bounds.radius > 0 else ())
            ),
        )
