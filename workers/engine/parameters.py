"""Draws the samples of a job under noise on the window, with the noise key of the values before the window."""

from collections.abc import Callable

from certrad.models.smoothing.blocks import Blocks
from certrad.models.smoothing.parameter_samples import ParameterRule
from certrad.models.types import Certificate
from certrad.models.types.evidence import Evidence
from certrad.models.types.parameters import ParametersEvidence
from certrad.workers.engine.job_setup import LabellingSetup, SetupFactory


def estimate_parameters(
    factory: SetupFactory,
    setup: LabellingSetup,
    evidence: Evidence,
    blocks: Blocks,
    on_samples: Callable[[int], None],
) -> ParametersEvidence | None:
    """Returns what noise on the window shows; None where none was asked for.

    The class is that of the certificate, which the selection samples of the file itself chose. Where it abstains, no
    sample is drawn.

    Args:
        factory: Makes the sampler.
        setup: What this engine labels the samples of the job with.
        evidence: The samples of the file itself.
        blocks: Where the labels are kept.
        on_samples: Called after each batch with the number of samples that are done; may raise to stop.
    """
    request = factory.input.request
    if request.parameter_sigma is None:
        return None
    if not isinstance(evidence.outcome, Certificate):
        return ParametersEvidence()
    rule = ParameterRule(
        class_index=evidence.outcome.class_index,
        n=request.params.n,
        split=request.params.alpha_split(len(request.classifier.class_names)),
    )
    sampler = factory.sampler_of_windows(setup, request.parameter_sigma)
    return ParametersEvidence(samples=rule.estimate(sampler, setup.classifier_at(evidence.sigma), blocks, on_samples))
