"""The certificate document: every fact a claim rests on, as canonical JSON that hashes the same everywhere."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

from models.types import (
    ETA,
    Abstention,
    Adaptation,
    Bound,
    Certificate,
    CertifyRequest,
    LabelCounts,
    NoiseLaw,
    Outcome,
    Scope,
)

SCHEMA: Final = "certrad.certificate/1"

FORMULAS: Final[dict[Bound, str]] = {
    "two_class": "radius = floor4(sigma/2 * (z(p_a_lower) - z(p_b_upper)))",
    "cohen": "radius = floor4(sigma * z(p_a_lower)), p_b_upper = 1 - p_a_lower",
}
SCOPES: Final[dict[Scope, str]] = {
    "input_independent": "covers the named classifier, whose prompt was fixed before this image was seen",
    "frozen_prompt": (
        "covers the classifier with this tuned prompt frozen, not a service that would tune again on the altered image"
    ),
}
LIMITS: Final = (
    "A certificate says that no change of the model input of L2 norm below the radius changes the smoothed class.",
    "It says nothing about whether the class is right.",
    "It holds with probability at least 1 - alpha over the noise, for the named classifier in the named precision.",
    "The norm is L2 over the model input with pixels in [0, 1], after decoding and resizing.",
    "An abstention does not detect an unknown kind of image.",
    "Research use; not a medical device.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image a certificate is about, by digest only.

    pixels_sha256: the decoded pixels, before resizing. input_sha256: the float32 model input.
    """

    pixels_sha256: str
    input_sha256: str
    input_shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierIdentity:
    """Everything that decides what the base classifier computes.

    prompt_sha256: digest of the prompt checkpoint; None for a hand-written template.
    context_sha256: digest of the context vectors in force, adapted ones included; None for a hand-written template.
    """

    backbone: str
    backbone_sha256: str
    prompt: str
    prompt_sha256: str | None
    context_sha256: str | None
    text_features_sha256: str
    class_names: tuple[str, ...]
    template: str
    adaptation: Adaptation | None
    logit_scale: float
    dtype: str
    device: str
    threads: int
    block_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseIdentity:
    """What the noise can be drawn again from: its law, the revealed key, and the hash of the secret behind the key."""

    law: NoiseLaw
    key: str
    epoch_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The counts and the outcome they decide."""

    selection: LabelCounts
    estimation: LabelCounts
    outcome: Outcome


def settings_digest(
    request: CertifyRequest, *, backbone_sha256: str, prompt_sha256: str | None, input_shape: Sequence[int]
) -> str:
    """SHA-256 of all that a caller can choose and that changes the claim; part of the noise key (DESIGN 4).

    `frame` and `region` are in the pixel digest already; urgency and the task's name change nothing.
    """
    chosen = {
        "schema": SCHEMA,
        "classifier": asdict(request.classifier),
        "params": asdict(request.params),
        "backbone_sha256": backbone_sha256,
        "prompt_sha256": prompt_sha256,
        "input_shape": list(input_shape),
    }
    return hashlib.sha256(canonical(chosen)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a certificate states; the document and a job's result are two spellings of it."""

    request: CertifyRequest
    evidence: Evidence
    subject: Subject
    classifier: ClassifierIdentity
    noise: NoiseIdentity
    software: Mapping[str, str]


def document(facts: Facts) -> dict[str, Any]:
    """The certificate document, free of patient data and of time, so that one claim has one digest."""
    scope = facts.request.classifier.scope
    return {
        "schema": SCHEMA,
        "claim": _claim(facts),
        "scope": scope,
        "scope_text": SCOPES[scope],
        "limits": LIMITS,
        "params": {**asdict(facts.request.params), "eta": ETA, "formula": FORMULAS[facts.request.params.bound]},
        "selection": asdict(facts.evidence.selection),
        "estimation": asdict(facts.evidence.estimation),
        "samples_used": _samples_used(facts),
        "subject": asdict(facts.subject),
        "classifier": asdict(facts.classifier),
        "noise": asdict(facts.noise),
        "software": dict(facts.software),
        "signature": None,
    }


def result(facts: Facts, *, warnings: Sequence[str], timing: Mapping[str, float]) -> dict[str, Any]:
    """The body of a job's `result`: the facts with JSON numbers, and what is about this run: warnings and timing."""
    spec = facts.request.classifier
    return {
        **_claim(facts),
        "scope": spec.scope,
        "scope_text": SCOPES[spec.scope],
        **asdict(facts.request.params),
        "samples_used": _samples_used(facts),
        "counts": facts.evidence.estimation.per_class,
        "invalid": facts.evidence.estimation.invalid,
        "class_names": spec.class_names,
        "prompt": spec.prompt,
        "adaptation": "none" if spec.adaptation is None else "zero_shot",
        "backbone": spec.backbone,
        "pixels_sha256": facts.subject.pixels_sha256,
        "input_sha256": facts.subject.input_sha256,
        "radius_in_image_units": None,
        "warnings": warnings,
        "provenance": {
            "input_shape": facts.subject.input_shape,
            "classifier": asdict(facts.classifier),
            "noise": asdict(facts.noise),
            "software": dict(facts.software),
        },
        "timing": dict(timing),
    }


def _claim(facts: Facts) -> dict[str, Any]:
    outcome = facts.evidence.outcome
    bounds = {"p_a_lower": outcome.p_a_lower, "p_b_upper": outcome.p_b_upper}
    match outcome:
        case Certificate(class_index=index, radius=radius):
            label = facts.request.classifier.class_names[index]
            return {"outcome": "certified", "class_index": index, "label": label, "radius": radius, **bounds}
        case Abstention(reason=reason):
            return {"outcome": "abstained", "reason": reason, **bounds}


def _samples_used(facts: Facts) -> int:
    return facts.evidence.selection.total + facts.evidence.estimation.total


def canonical(value: object) -> bytes:
    """UTF-8 JSON, keys sorted, no spaces, every number a decimal string: equal facts have equal bytes everywhere."""
    return json.dumps(_stringified(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(document_bytes: bytes) -> str:
    """SHA-256 of a canonical document; the name it is kept under."""
    return hashlib.sha256(document_bytes).hexdigest()


def _stringified(value: object) -> object:
    match value:
        case bool() | str() | None:
            return value
        case int():
            return str(value)
        case float():
            return format(Decimal(repr(value)), "f")
        case Mapping():
            return {str(key): _stringified(item) for key, item in value.items()}
        case Sequence():
            return [_stringified(item) for item in value]
        case _:
            raise TypeError(f"a document holds JSON values only, got {type(value).__name__}")
