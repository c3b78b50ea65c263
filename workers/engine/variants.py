"""Draws the samples of the variants of one job, each under the noise key of its own model input."""

from collections.abc import Callable
from dataclasses import dataclass

from certrad.models.smoothing.blocks import Blocks
from certrad.models.smoothing.sampling import labels as labels_of
from certrad.models.smoothing.unsmoothed import batched_logits
from certrad.models.smoothing.variant_samples import VariantRule, of_variant
from certrad.models.types import Certificate, FixedSigma
from certrad.models.types.evidence import Evidence
from certrad.models.types.variants import UnsmoothedEvidence, VariantsEvidence
from certrad.workers.engine.job_setup import LabellingSetup, SetupFactory

LedgerOf = Callable[[str], Blocks]
"""Name of a run of samples -> where its labels are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSampling:
    """The variants of one job.

    Attributes:
        factory: Makes their samplers.
        setup: What this engine labels the samples of the job with.
        ledger_of: Where the labels of each variant are kept.
        on_variant: Called after each variant; may raise to stop.
    """

    factory: SetupFactory
    setup: LabellingSetup
    ledger_of: LedgerOf
    on_variant: Callable[[], None]

    def estimate(self, evidence: Evidence) -> VariantsEvidence | None:
        """Returns what the variants show; None where none were asked for.

        Their class is that of the certificate, which the selection samples of the file itself chose. Where it
        abstains, none is sampled.

        Args:
            evidence: The samples of the file itself.
        """
        request, records = self.factory.input.request, self.factory.input.image.variants
        asked = request.variants
        if asked is None or asked.base != "smoothed" or not isinstance(request.sigma, FixedSigma):
            return None
        if not isinstance(evidence.outcome, Certificate):
            return VariantsEvidence()
        sigma, rows = request.sigma.sigma, []
        rule = VariantRule(
            class_index=evidence.outcome.class_index,
            n=asked.n,
            split=request.params.alpha_split(len(request.classifier.class_names)),
            sigma=sigma,
            radius=asked.radius,
        )
        classifier = self.setup.classifier_at(sigma)
        for place, variant in enumerate(records):
            sampler = of_variant(self.factory.sampler_of_variant(self.setup, place), asked.n)
            rows.append(rule.estimate(variant, sampler, classifier, self.ledger_of(f"variant-{place}:")))
            self.on_variant()
        return rule.decide(tuple(rows))

    def label(self, evidence: Evidence) -> UnsmoothedEvidence | None:
        """Returns the answers of the base classifier for the variants without noise; None where none were asked for.

        They take seconds and are not kept in the ledger: a resumed job computes them again.

        Args:
            evidence: The samples of the file itself.
        """
        request, records = self.factory.input.request, self.factory.input.image.variants
        asked = request.variants
        if asked is None or asked.base != "unsmoothed" or not isinstance(request.sigma, FixedSigma):
            return None
        if not isinstance(evidence.outcome, Certificate):
            return UnsmoothedEvidence()
        seen = (self.factory.variant(self.setup, place) for place in range(len(records)))
        labels = list[int]()
        for logits in batched_logits(seen, self.setup.classifier_at(request.sigma.sigma), self.setup.sampler):
            for label in labels_of(logits):
                labels.append(int(label))
                self.on_variant()
        return UnsmoothedEvidence(
            class_index=evidence.outcome.class_index, variants=tuple(records), labels=tuple(labels)
        )
