"""Draws the samples of one variant of an image, for a class that was chosen without them."""

from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from certrad.models.smoothing.blocks import Blocks, Layout
from certrad.models.smoothing.labelling import label_batches
from certrad.models.smoothing.noise import Stream
from certrad.models.smoothing.prefix import prefix
from certrad.models.smoothing.sampling import LABEL_DTYPE, BaseClassifier, NoisySampler, count
from certrad.models.smoothing.variants import VariantBounds, bound_variant, minimum
from certrad.models.types import AlphaSplit, LabelCounts
from certrad.models.types.variants import VariantEvidence, VariantRecord, VariantsEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRule:
    """What all variants of an image have in common, fixed before their samples are drawn.

    Attributes:
        class_index: The class that the selection samples of the file itself chose.
        n: Estimation samples of each variant.
        split: The shares of the full alpha, which every variant spends.
        sigma: Noise standard deviation in pixels of [0, 1].
        radius: The L2 radius that is asked for at each of them; 0 for the class only.
    """

    class_index: int
    n: int
    split: AlphaSplit
    sigma: float
    radius: float

    def estimate(
        self, variant: VariantRecord, sampler: NoisySampler, base_classifier: BaseClassifier, blocks: Blocks
    ) -> VariantEvidence:
        """Returns the evidence of one variant; draws the estimation samples that are not committed yet.

        Args:
            variant: The variant.
            sampler: Draws noisy copies of its model input, in batches of `batch_of`.
            base_classifier: The classifier that is smoothed.
            blocks: Where its labels are kept.
        """
        layout = Layout(n=self.n, batch_size=sampler.batch_size, block_size=sampler.batch_size)
        label = partial(label_batches, sampler, base_classifier, Stream.ESTIMATE)
        with closing(prefix(label, layout, blocks)) as batches:
            labels = b"".join(drawn for drawn, _ in batches)
        counts = count(np.frombuffer(labels, LABEL_DTYPE), base_classifier.n_classes)
        bounds = self._bounds(counts)
        return VariantEvidence(
            variant=variant,
            key=sampler.noise.key.hex(),
            labels=labels,
            counts=counts,
            p_a_lower=bounds.p_a_lower,
            p_b_upper=bounds.p_b_upper,
            radius=bounds.radius,
        )

    def decide(self, rows: tuple[VariantEvidence, ...]) -> VariantsEvidence:
        """Returns what all variants show together.

        Args:
            rows: The evidence of every variant, in order.
        """
        found = minimum([self._bounds(row.counts) for row in rows], self.radius)
        return VariantsEvidence(
            class_index=self.class_index,
            rows=rows,
            radius=found.radius,
            held=found.held,
            counterexample=found.counterexample,
        )

    def _bounds(self, counts: LabelCounts) -> VariantBounds:
        return bound_variant(self.class_index, counts, self.split, self.sigma)


def of_variant(sampler: NoisySampler, n: int) -> NoisySampler:
    """Returns a sampler whose batches are no larger than the samples of a variant; a replay cuts them in the same way.

    Args:
        sampler: Draws noisy copies of the variant's model input.
        n: Estimation samples of the variant.
    """
    return replace(sampler, batch_size=min(sampler.batch_size, n))
