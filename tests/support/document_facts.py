"""Facts of invented counts, for tests of what a document makes of them."""

import struct
from dataclasses import replace
from typing import Any

from certrad.models.certificates.facts import Facts
from certrad.models.types import (
    Adaptation,
    Certificate,
    CertifyRequest,
    ClassifierSpec,
    Decision,
    FixedSigma,
    LabelCounts,
    Outcome,
    SamplingParams,
)
from certrad.models.types.evidence import Evidence
from certrad.models.types.identity import Subject
from certrad.models.types.noise_space import NoiseSpace
from tests.support.certificates import stated

CERTIFIED = Certificate(class_index=0, radius=0.3181, p_a_lower=0.9, p_b_upper=0.1)


def facts(
    *,
    labels: tuple[int, ...] = (0,) * 95 + (2,) + (3,) + (0,) * 3,
    outcome: Outcome = CERTIFIED,
    decision: Decision | None = None,
    adaptation: Adaptation | None = None,
    adapter: str | None = None,
    noise_space: NoiseSpace = "model_input",
    **params: Any,
) -> Facts:
    """The facts of a certificate with three classes; label 3 is `invalid`."""
    spec = ClassifierSpec(
        backbone="demo",
        prompt="few-shot",
        class_names=("a", "b", "ç"),
        template="{}",
        adaptation=adaptation,
        adapter=adapter,
    )
    sigma = FixedSigma(params.pop("sigma", FixedSigma().sigma))
    budget = replace(SamplingParams(n0=20, n=100), **params)
    request = CertifyRequest(classifier=spec, sigma=sigma, params=budget, noise_space=noise_space)
    evidence = Evidence(
        sigma=sigma.sigma,
        alpha_split=request.params.alpha_split(3),
        selection=LabelCounts(per_class=(19, 1, 0)),
        estimation=LabelCounts(per_class=tuple(map(labels.count, range(3))), invalid=labels.count(3)),
        labels=struct.pack(f"<{len(labels)}H", *labels),
        outcome=outcome,
        decision=decision or Decision(),
    )
    subject = Subject(pixels_sha256="ab" * 32, input_sha256="cd" * 32, input_shape=(3, 64, 64))
    return stated(request, evidence, subject=subject)
