"""Schema 2 of the certificate document, which this version reads and no longer writes.

Its meaning must not change: documents of it are stored and are verified for years. Stored examples are verified by the
tests.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.noise_key import noise_key
from certrad.models.certificates.reader import Reader
from certrad.models.certificates.statement import (
    StatedAbstention,
    StatedCertificate,
    StatedParams,
    StatedRouting,
    StatedSamples,
    StatedSignature,
    Statement,
)
from certrad.models.types import (
    Adaptation,
    AutoSigma,
    CertifyRequest,
    Decision,
    FixedSigma,
    GatedAdaptation,
    LabelCounts,
    Scope,
    ZeroShotAdaptation,
)
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity, Subject
from certrad.models.types.image import ImageRadius, NoImageRadius

NAME: Final = "certrad.certificate/2"

_SPEC: Final = ("backbone", "prompt", "class_names", "template", "adaptation")
_PARAMS: Final = ("alpha", "n0", "n", "bound", "target_radius")
_ROUTING: Final = ("sigmas", "selector_sigma", "grid", "weights", "biases")
_READER: Final = Reader(may_be_absent=frozenset({"routing", "target_reached"}))
_LIMITS: Final = (
    "A certificate says that no change of the model input of L2 norm below the radius changes the smoothed class.",
    "It says nothing about whether the class is right.",
    "The norm is L2 over the model input with pixels in [0, 1], after decoding and resizing. Only digital changes of "
    "the pixels are covered, not another exposure, window, crop, header or file.",
    "It holds with probability at least 1 - alpha over the noise. Each certificate has an alpha of its own: among m "
    "submissions, altered copies of one image included, the probability of a false one is up to m alpha.",
    "It is about the named classifier in the named precision, computed by the named software on the named device.",
    "An abstention does not detect an unknown kind of image.",
    "Research use; not a medical device.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    pixels_sha256: str
    input_sha256: str
    input_shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Classifier:
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
    members: tuple[str, ...]
    gate_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noise:
    law: Literal["philox-ziggurat-f64", "philox-boxmuller-f64"]
    key: str
    epoch_sha256: str
    settings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    schema: Literal["certrad.certificate/2"]
    claim: StatedCertificate | StatedAbstention
    scope: Scope
    scope_text: str
    limits: tuple[str, ...]
    params: StatedParams
    decision: Decision
    selection: LabelCounts
    estimation: StatedSamples
    routing: StatedRouting | None = None
    samples_used: int
    subject: _Subject
    radius_in_image_units: ImageRadius | NoImageRadius
    classifier: _Classifier
    noise: _Noise
    software: Mapping[str, str]
    signature: StatedSignature | None


def read(document: Mapping[str, Any]) -> Statement:
    """Returns the statement of a document.

    Args:
        document: The JSON object.

    Raises:
        ValueError: A field is missing, unknown, malformed or out of range.
    """
    parts: _Document = _READER.decode(document, _Document, "document")
    return Statement(
        **_by_name(parts)
        | {
            "subject": Subject(**asdict(parts.subject)),
            "classifier": ClassifierIdentity(**_by_name(parts.classifier)),
            "noise": NoiseIdentity(**asdict(parts.noise)),
        }
    )


def check_digests(statement: Statement) -> str:
    """Checks that the noise key is that of the classifier and the parameters.

    Args:
        statement: The statement.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    if _settings_digest(statement) != statement.noise.settings_sha256:
        raise ValueError("settings_sha256, a part of the noise key, is that of another classifier or other parameters")
    return "the noise key is that of this classifier and these parameters"


def key(statement: Statement, secret: bytes) -> bytes:
    """Returns the noise key that follows from a secret.

    Args:
        statement: The statement.
        secret: The epoch secret.
    """
    return noise_key(secret, statement.subject.pixels_sha256, statement.noise.settings_sha256)


def scope_text(classifier: ClassifierIdentity) -> str:
    """Returns the scope in words.

    Args:
        classifier: The base classifier.
    """
    match classifier.adaptation:
        case ZeroShotAdaptation():
            return (
                "covers the classifier with this tuned prompt frozen, "
                "not a service that would tune again on the altered image"
            )
        case GatedAdaptation():
            return (
                "covers the named classifier, whose prompts and gate were fixed before this image was seen; "
                "it adapts to each noisy sample by itself"
            )
        case None:
            return "covers the named classifier, whose prompt was fixed before this image was seen"


def limits(_: ClassifierIdentity, selected: int, estimated: int) -> list[str]:
    """Returns what a reader must not read into the claim, the same of every classifier.

    Args:
        selected: Number of selection samples.
        estimated: Number of estimation samples.
    """
    samples = (
        f"It rests on {selected} noisy samples that chose the class and on {estimated} others that bound its "
        "probability; more samples might have shown more."
    )
    return [*_LIMITS, samples]


def _settings_digest(statement: Statement) -> str:
    """Returns the SHA-256 of the settings as schema 2 spells them: with sigma=auto `params.sigma` is the selector's."""
    request, classifier = statement.request, statement.classifier
    spec = asdict(request.classifier)
    chosen = {
        "schema": NAME,
        "classifier": {name: spec[name] for name in _SPEC},
        **_spell_sampling(request),
        "backbone_sha256": classifier.backbone_sha256,
        "prompt_sha256": classifier.prompt_sha256,
        "input_shape": list(statement.subject.input_shape),
    }
    return hashlib.sha256(canonical(chosen)).hexdigest()


def _spell_sampling(request: CertifyRequest) -> dict[str, Any]:
    params = {name: getattr(request.params, name) for name in _PARAMS}
    match request.sigma:
        case FixedSigma(sigma):
            return {"params": {**params, "sigma": sigma}}
        case AutoSigma(routing):
            spelled = asdict(routing)
            return {
                "params": {**params, "sigma": routing.selector_sigma},
                "routing": {name: spelled[name] for name in _ROUTING},
            }


def _by_name(parts: _Document | _Classifier) -> dict[str, Any]:
    """Returns the fields by name, their values as they are."""
    return {field.name: getattr(parts, field.name) for field in fields(parts)}
