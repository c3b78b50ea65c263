"""Facts of invented counts, for tests of what a document makes of them."""

import struct
from dataclasses import replace
from typing import Any

from models.certificate import ClassifierIdentity, Evidence, Facts, NoiseIdentity, Subject
from models.image_units import ImageScale
from models.types import (
    Adaptation,
    Certificate,
    CertifyRequest,
    ClassifierSpec,
    Decision,
    LabelCounts,
    Outcome,
    SmoothingParams,
)

SCALE = ImageScale(
    unit="grey level",
    slope=1 / 255,
    rows=64,
    columns=64,
    channels=1,
    resize_vertical=1.0,
    resize_horizontal=1.0,
    rounding=1e-6,
    note="values as stored",
)
CERTIFIED = Certificate(class_index=0, radius=0.3181, p_a_lower=0.9, p_b_upper=0.1)


def facts(
    *,
    labels: tuple[int, ...] = (0,) * 95 + (2,) + (3,) + (0,) * 3,
    outcome: Outcome = CERTIFIED,
    decision: Decision | None = None,
    adaptation: Adaptation | None = None,
    **params: Any,
) -> Facts:
    """The facts of a certificate with three classes; label 3 is `invalid`."""
    spec = ClassifierSpec(
        backbone="demo", prompt="few-shot", class_names=("a", "b", "ç"), template="{}", adaptation=adaptation
    )
    request = CertifyRequest(classifier=spec, params=replace(SmoothingParams(n0=20, n=100), **params))
    return Facts(
        request=request,
        evidence=Evidence(
            selection=LabelCounts(per_class=(19, 1, 0)),
            estimation=LabelCounts(per_class=tuple(map(labels.count, range(3))), invalid=labels.count(3)),
            labels=struct.pack(f"<{len(labels)}H", *labels),
            outcome=outcome,
            decision=decision or Decision(),
        ),
        subject=Subject(pixels_sha256="ab" * 32, input_sha256="cd" * 32, input_shape=(3, 64, 64)),
        scale=SCALE,
        classifier=ClassifierIdentity(
            backbone="demo",
            backbone_sha256="01" * 32,
            prompt="few-shot",
            prompt_sha256="02" * 32,
            context_sha256="03" * 32,
            text_features_sha256="04" * 32,
            class_names=spec.class_names,
            template=spec.template,
            adaptation=adaptation,
            logit_scale=100.0,
            dtype="float32",
            device="cpu",
            threads=1,
            block_size=64,
        ),
        noise=NoiseIdentity(
            law="philox-ziggurat-f64", key="05" * 32, epoch_sha256="06" * 32, settings_sha256="07" * 32
        ),
        software={"certrad": "0", "code_sha256": "08" * 32},
    )
