"""The certificate document: every fact a claim rests on, as canonical JSON that hashes the same everywhere."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

from models.certificates.text import formula, limits, scope_text
from models.evidence import Evidence, routing_block, routing_summary, transcript
from models.images.units import ImageScale, radius_in_image_units
from models.types import (
    ETA,
    Abstention,
    Adaptation,
    AlphaSplit,
    Certificate,
    CertifyRequest,
    ClassifierSpec,
    GatedAdaptation,
    NoiseLaw,
    ZeroShotAdaptation,
)

SCHEMA: Final = "certrad.certificate/2"
THREADS_MAX: Final = 4096
BLOCK_MAX: Final = 4096


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
        Those of a bank are the whole bank.
    text_features_sha256: of all class names; of a bank, of those of every member in turn.
    members, gate_sha256: of a bank, the digests of its members' context vectors, each as a checkpoint of its own, and
        of its gate.
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
    members: tuple[str, ...] = ()
    gate_sha256: str | None = None

    def __post_init__(self) -> None:
        for name, value, most in (("threads", self.threads, THREADS_MAX), ("block_size", self.block_size, BLOCK_MAX)):
            if not 1 <= value <= most:  # a replay takes as many
                raise ValueError(f"{name} must be in 1..{most}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseIdentity:
    """What the noise can be drawn again from: its law, the revealed key, and the hash of the secret behind the key."""

    law: NoiseLaw
    key: str
    epoch_sha256: str
    settings_sha256: str


def settings_digest(
    request: CertifyRequest, *, backbone_sha256: str, prompt_sha256: str | None, input_shape: Sequence[int]
) -> str:
    """SHA-256 of all that a caller can choose and that changes the claim: a part of the noise key.

    `frame` and `region` are in the pixel digest already; urgency and the task's name change nothing. Every part of it
    stands in the document, so that anyone can compute it again (docs/mathematics.md, A1).
    """
    chosen = {
        "schema": SCHEMA,
        "classifier": asdict(request.classifier),
        "params": asdict(request.params),
        "backbone_sha256": backbone_sha256,
        "prompt_sha256": prompt_sha256,
        "input_shape": list(input_shape),
        **({} if request.routing is None else {"routing": asdict(request.routing)}),
    }
    return hashlib.sha256(canonical(chosen)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a certificate states; the document and a job's result are two spellings of it."""

    request: CertifyRequest
    evidence: Evidence
    subject: Subject
    scale: ImageScale
    classifier: ClassifierIdentity
    noise: NoiseIdentity
    software: Mapping[str, str]

    @property
    def sigma(self) -> float:
        """That of the noise under which the claimed class was counted."""
        routed = self.evidence.routed
        return self.request.params.sigma if routed is None else routed.sigma

    @property
    def alpha_split(self) -> AlphaSplit:
        """The shares of alpha for the class; with routing the selector has others."""
        params, routed = self.request.params, self.evidence.routed
        return params.alpha_split(len(self.request.classifier.class_names)) if routed is None else routed.split.classes


def document(facts: Facts) -> dict[str, Any]:
    """The certificate document, free of patient data and of time, so that one claim has one digest; not signed yet."""
    request, evidence = facts.request, facts.evidence
    return {
        "schema": SCHEMA,
        "claim": _claim(facts),
        "scope": request.classifier.scope,
        "scope_text": scope_text(request.classifier),
        "limits": limits(evidence.selection_samples, evidence.estimation_samples),
        "params": {
            **asdict(request.params),
            "sigma": facts.sigma,
            "eta": ETA,
            "alpha_split": asdict(facts.alpha_split),
            "formula": formula(evidence.decision.rule, facts.alpha_split),
        },
        "decision": asdict(evidence.decision),
        "selection": asdict(evidence.selection),
        "estimation": transcript(evidence.labels, evidence.estimation),
        **({} if evidence.routed is None else {"routing": routing_block(evidence.routed)}),
        "samples_used": evidence.samples_used,
        "subject": asdict(facts.subject),
        "radius_in_image_units": _radius_in_image_units(facts),
        "classifier": asdict(facts.classifier),
        "noise": asdict(facts.noise),
        "software": dict(facts.software),
        "signature": None,
    }


def result(facts: Facts, *, warnings: Sequence[str], timing: Mapping[str, float]) -> dict[str, Any]:
    """The body of a job's `result`: the facts with JSON numbers, and what is about this run: warnings and timing."""
    spec, evidence = facts.request.classifier, facts.evidence
    return {
        **_claim(facts),
        "scope": spec.scope,
        "scope_text": scope_text(spec),
        **asdict(facts.request.params),
        "sigma": facts.sigma,
        "decision": asdict(evidence.decision),
        "samples_used": evidence.samples_used,
        "counts": evidence.estimation.per_class,
        "invalid": evidence.estimation.invalid,
        "class_names": spec.class_names,
        "prompt": spec.prompt,
        "adaptation": _adaptation_name(spec),
        "backbone": spec.backbone,
        "pixels_sha256": facts.subject.pixels_sha256,
        "input_sha256": facts.subject.input_sha256,
        "radius_in_image_units": _radius_in_image_units(facts),
        "routing": None if evidence.routed is None else routing_summary(evidence.routed),
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
    outcome, target = facts.evidence.outcome, facts.request.params.target_radius
    bounds = {"p_a_lower": outcome.p_a_lower, "p_b_upper": outcome.p_b_upper}
    match outcome:
        case Certificate(class_index=index, radius=radius):
            label = facts.request.classifier.class_names[index]
            reached = {} if target is None else {"target_reached": radius >= target}
            return {"outcome": "certified", "class_index": index, "label": label, "radius": radius, **bounds, **reached}
        case Abstention(reason=reason):
            return {"outcome": "abstained", "reason": reason, **bounds}


def _radius_in_image_units(facts: Facts) -> dict[str, Any]:
    outcome = facts.evidence.outcome
    return asdict(radius_in_image_units(outcome.radius if isinstance(outcome, Certificate) else None, facts.scale))


def _adaptation_name(spec: ClassifierSpec) -> str:
    match spec.adaptation:
        case ZeroShotAdaptation():
            return "zero_shot"
        case GatedAdaptation():
            return "gated"
        case None:
            return "none"


def canonical(value: object) -> bytes:
    """UTF-8 JSON, keys sorted, no spaces, every number a decimal string: equal facts have equal bytes everywhere."""
    return compact(_stringified(value))


def compact(value: object) -> bytes:
    """UTF-8 JSON, keys sorted, no spaces, values as they are: the bytes of a document that was read from JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


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
