"""Schema 3 of the certificate document, which this version writes: a fixed core, claims, and parts of the classifier.

What must be said beside them gets a kind of claim or of part; the fields of the core must not change.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from certrad.models.certificates.noise_key import classifier_digest, classifier_parts, noise_key, sampling_digest
from certrad.models.certificates.reader import Reader
from certrad.models.certificates.schemas.claims import Claim, Claims, read_claims, write_claims
from certrad.models.certificates.schemas.classifier import Classifier, read_classifier, write_classifier
from certrad.models.certificates.stated_samples import StatedSamples
from certrad.models.certificates.statement import StatedCertificate, StatedParams, StatedSignature, Statement
from certrad.models.types import Decision, LabelCounts, NoiseLaw, Scope
from certrad.models.types.identity import NoiseIdentity, Subject

NAME: Final = "certrad.certificate/3"

_READER: Final = Reader()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseOrigin:
    """What the noise can be drawn again from; see `NoiseIdentity`."""

    law: NoiseLaw
    key: str
    epoch_sha256: str
    classifier_sha256: str
    settings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document of schema 3: every field of it, and no other; see `Statement`."""

    schema: Literal["certrad.certificate/3"] = NAME
    claims: tuple[Claim, ...]
    scope: Scope
    scope_text: str
    limits: tuple[str, ...]
    params: StatedParams
    decision: Decision
    selection: LabelCounts
    estimation: StatedSamples
    samples_used: int
    subject: Subject
    classifier: Classifier
    noise: NoiseOrigin
    software: Mapping[str, str]
    signature: StatedSignature | None


def read(document: Mapping[str, Any]) -> Statement:
    """Returns the statement of a document.

    Args:
        document: The JSON object.

    Raises:
        ValueError: A field is missing, unknown, malformed or out of range, or a kind of claim or part is unknown.
    """
    stated: Document = _READER.decode(document, Document, "document")
    claims = read_claims(stated.claims)
    core = {field.name: getattr(stated, field.name) for field in fields(stated) if field.name != "claims"}
    classifier = read_classifier(stated.classifier)
    if isinstance(claims.outcome, StatedCertificate) and claims.rendered != (classifier.noisy_image is not None):
        raise ValueError("the radius must be on the rendered image if noise is added to that, and only then")
    return Statement(
        **core
        | {
            "claim": claims.outcome,
            "routing": claims.routing,
            "variants": claims.variants,
            "unsmoothed": claims.unsmoothed,
            "parameters": claims.parameters,
            "prediction_set": claims.prediction_set,
            "radius_in_image_units": claims.image_radius,
            "classifier": classifier,
            "noise": NoiseIdentity(**asdict(stated.noise)),
        }
    )


def write(statement: Statement) -> dict[str, Any]:
    """Returns the JSON object of a statement.

    Args:
        statement: The statement.

    Raises:
        ValueError: The classifier lacks what schema 3 states.
    """
    claims = Claims(
        outcome=statement.claim,
        routing=statement.routing,
        image_radius=statement.radius_in_image_units,
        rendered=statement.classifier.noisy_image is not None,
        variants=statement.variants,
        unsmoothed=statement.unsmoothed,
        parameters=statement.parameters,
        prediction_set=statement.prediction_set,
    )
    noise = asdict(statement.noise)
    core = {
        field.name: getattr(statement, field.name)
        for field in fields(Document)
        if field.name not in ("schema", "claims", "classifier", "noise")
    }
    return asdict(
        Document(
            **core,
            claims=write_claims(claims),
            classifier=write_classifier(statement.classifier),
            noise=NoiseOrigin(**noise),
        )
    )


def check_digests(statement: Statement) -> str:
    """Checks that the digests in the noise key are those of the classifier and of the sampling settings.

    Args:
        statement: The statement.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    noise = statement.noise
    if classifier_digest(classifier_parts(statement.classifier, noise.law)) != noise.classifier_sha256:
        raise ValueError("classifier_sha256, a part of the noise key, is that of another classifier")
    if sampling_digest(statement.request) != noise.settings_sha256:
        raise ValueError("settings_sha256, a part of the noise key, is that of other parameters")
    return "the noise key is that of this classifier and these parameters"


def key(statement: Statement, secret: bytes) -> bytes:
    """Returns the noise key that follows from a secret.

    Args:
        statement: The statement.
        secret: The epoch secret.

    Raises:
        ValueError: The statement names no classifier by digest, as those of schema 2.
    """
    noise = statement.noise
    if noise.classifier_sha256 is None:
        raise ValueError("a document of schema 3 must have classifier_sha256")
    image = statement.classifier.noisy_image
    noised = statement.subject.input_sha256 if image is None else image.sha256
    return noise_key(secret, noised, noise.classifier_sha256, noise.settings_sha256)
