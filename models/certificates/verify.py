"""Verification of a certificate document: nobody changed it, and its claim follows from its labels.

The labels themselves are checked by drawing them again, which needs the image and the model
(`certrad.models.replay.replay`).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from certrad.models.certificates import checks, routed_checks
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.findings import Check, Skipped
from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.schemas.schema import MAX_BYTES, SCHEMAS, parse, read
from certrad.models.certificates.signature import is_signed
from certrad.models.certificates.statement import StatedCertificate, StatedRouting, Statement
from certrad.models.certificates.text import formula
from certrad.models.images.units import radius_in_image_units
from certrad.models.types import CertifyRequest
from certrad.models.types.image import ImageRecord

__all__ = ["MAX_BYTES", "Check", "Issuer", "Skipped", "Verification", "check_image", "run_check", "verify"]

IssuerStatus = Literal["known", "unknown", "revoked", "not_checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """What an issuer has published.

    Attributes:
        public_keys: Its public keys in hexadecimal.
        revoked: SHA-256 of the public keys that it has disowned.
        secrets: SHA-256 of a noise secret -> the revealed secret.
        epochs: SHA-256 of every noise secret that it committed to; None where only its keys are known.
    """

    public_keys: frozenset[str]
    revoked: frozenset[str] = frozenset()
    secrets: Mapping[str, bytes]
    epochs: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every check of a document.

    Attributes:
        checks: The checks that were made, in order.
        issuer: Whether it is signed with a key of the issuer's.
        skipped: The checks that were not made.
    """

    checks: tuple[Check, ...]
    issuer: IssuerStatus
    skipped: tuple[Skipped, ...] = ()

    @property
    def valid(self) -> bool:
        """Returns whether every check that was made holds."""
        return all(check.ok for check in self.checks)


def verify(content: bytes, issuer: Issuer | None = None) -> Verification:
    """Checks the bytes of a document as they were stored. Without an issuer, it does not check who signed.

    A document of the largest size takes some seconds.

    Args:
        content: The bytes of the document.
        issuer: What the issuer has published; None if it is not known.

    Returns:
        Every check, refused ones included, and what was not checked.

    Raises:
        Rejected: `not_a_certificate`, for bytes that are no document.
    """
    document = parse(content)
    status = _status(_signer(document), issuer)
    seals = {
        "canonical": partial(_canonical, document, content),
        "signature": partial(_signature, document),
        **({} if status == "not_checked" else {"issuer": partial(_issuer, status)}),
    }
    skipped = () if issuer is not None else (Skipped("issuer", "no public keys were given"),)
    checks = [run_check(name, test) for name, test in seals.items()]
    try:
        statement = read(document)
        tests = _tests(statement, issuer)
    except ValueError as refusal:
        return Verification(checks=(*checks, Check("schema", False, str(refusal))), issuer=status, skipped=skipped)
    checks.append(Check("schema", True, "every field is there, and in its range"))
    if _is_unrevealed(statement, issuer):
        skipped = (*skipped, Skipped("noise_key", "the secret of this epoch is not known here, or not revealed yet"))
    made = (*checks, *(run_check(name, test) for name, test in tests.items()))
    return Verification(checks=made, issuer=status, skipped=skipped)


def check_image(statement: Statement, image: ImageRecord) -> str:
    """Checks that an image is the subject of a document.

    Args:
        statement: The document.
        image: The facts of the image, as intake decoded it.

    Returns:
        The result of the check, as a sentence.

    Raises:
        ValueError: The image is another one; the message says where they differ.
    """
    subject, claim = statement.subject, statement.claim
    if image.pixels_sha256 != subject.pixels_sha256:
        raise ValueError("the pixels are not those of the certificate; name the frame or region if there are several")
    if image.input_sha256 != subject.input_sha256:
        raise ValueError("the model input made of these pixels is not that of the certificate")
    if subject.window is not None and image.window != subject.window:
        raise ValueError("the window that makes these pixels is not that of the certificate")
    radius = claim.radius if isinstance(claim, StatedCertificate) else None
    if radius_in_image_units(radius, image.scale) != statement.radius_in_image_units:
        raise ValueError("radius_in_image_units does not follow from the image")
    return "pixels, window and model input are those of the certificate, and radius_in_image_units follows from them"


def run_check(name: str, test: Callable[[], str]) -> Check:
    """Runs a test and returns its result.

    Args:
        name: Name of the check.
        test: Returns what it found, or raises ValueError with the reason of a refusal.
    """
    try:
        return Check(name, True, test())
    except ValueError as refusal:
        return Check(name, False, str(refusal))


def _tests(statement: Statement, issuer: Issuer | None) -> dict[str, Callable[[], str]]:
    """Returns the tests by name.

    Raises:
        ValueError: The request is impossible, or counts or labels do not fit it.
    """
    request, routing = statement.request, statement.routing
    n_classes = len(request.classifier.class_names)
    if {len(statement.selection.per_class), len(statement.estimation.per_class)} != {n_classes}:
        raise ValueError(f"counts must be of {n_classes} classes")
    noise: dict[str, Callable[[], str]] = {}
    if issuer is not None and not _is_unrevealed(statement, issuer):
        noise = {"noise_key": partial(_noise_key, statement, issuer)}
    return {
        "settings": partial(SCHEMAS[statement.schema].check_digests, statement),
        **noise,
        "scope": partial(_scope, statement, request),
        "words": partial(_words, statement),
        **(_of_one_sigma(statement) if routing is None else _of_routes(statement, routing)),
        "image_units": partial(checks.image_units, statement),
    }


def _of_one_sigma(statement: Statement) -> dict[str, Callable[[], str]]:
    labels = parse_labels(statement.estimation.labels)
    return {
        "labels": partial(checks.counts, statement.estimation, labels),
        "merkle_root": partial(checks.root, statement.estimation, labels),
        "samples": partial(checks.samples, statement, labels),
        "alpha_split": partial(checks.alpha_split, statement),
        "class": partial(checks.class_index, statement),
        "bounds": partial(checks.bounds, statement, labels),
        "radius": partial(checks.radius, statement),
    }


def _of_routes(statement: Statement, routing: StatedRouting) -> dict[str, Callable[[], str]]:
    drawn = routed_checks.drawn(statement, routing)
    return {
        "labels": partial(routed_checks.all_counts, drawn),
        "merkle_root": partial(routed_checks.all_roots, drawn),
        "samples": partial(routed_checks.samples, statement, routing, drawn),
        "alpha_split": partial(routed_checks.alpha_split, statement, routing),
        "class": partial(routed_checks.route, statement, routing),
        "bounds": partial(routed_checks.bounds, statement, routing),
        "radius": partial(routed_checks.radius, statement, routing),
    }


# -- who says so ----------------------------------------------------------------------------------------------------


def _canonical(document: Mapping[str, Any], content: bytes) -> str:
    if canonical(document) != content:
        raise ValueError("the bytes are not the canonical JSON of what they say")
    return "the bytes are canonical JSON"


def _signature(document: Mapping[str, Any]) -> str:
    if document.get("signature") is None:
        raise ValueError("the document is not signed")
    if not is_signed(document):
        raise ValueError("the document was changed after it was signed, or the signature is malformed")
    return f"Ed25519, by the public key {_signer(document)}"


def _signer(document: Mapping[str, Any]) -> str | None:
    match document.get("signature"):
        case {"public_key": str(public_key)}:
            return public_key
        case _:
            return None


def _status(signer: str | None, issuer: Issuer | None) -> IssuerStatus:
    if issuer is None:
        return "not_checked"
    try:
        digest = hashlib.sha256(bytes.fromhex(signer or "")).hexdigest()
    except ValueError:
        return "unknown"
    return "revoked" if digest in issuer.revoked else "known" if signer in issuer.public_keys else "unknown"


def _issuer(status: IssuerStatus) -> str:
    match status:
        case "known":
            return "signed with a key of the issuer's"
        case "revoked":
            raise ValueError("the signing key was revoked by the issuer: whoever had it may have signed this")
        case _:
            raise ValueError("the document is signed with a key that is not the issuer's")


# -- what it is about -----------------------------------------------------------------------------------------------


def _is_committed(epoch_sha256: str, issuer: Issuer) -> bool:
    return issuer.epochs is None or epoch_sha256 in issuer.epochs


def _is_unrevealed(statement: Statement, issuer: Issuer | None) -> bool:
    """Returns whether nothing can be said about the noise key: no revealed secret, and no broken commitment."""
    epoch = statement.noise.epoch_sha256
    return issuer is None or (_is_committed(epoch, issuer) and epoch not in issuer.secrets)


def _noise_key(statement: Statement, issuer: Issuer) -> str:
    epoch = statement.noise.epoch_sha256
    if not _is_committed(epoch, issuer):
        raise ValueError("the issuer has not committed to the secret of this epoch, and so might have chosen the noise")
    key = SCHEMAS[statement.schema].key(statement, issuer.secrets[epoch])
    if key.hex() != statement.noise.key:
        raise ValueError("the noise key is not that of this image, this classifier and these settings")
    return "the noise key follows from the image, the classifier, the settings and the revealed secret"


def _scope(statement: Statement, request: CertifyRequest) -> str:
    expected = request.classifier.scope, SCHEMAS[statement.schema].scope_text(statement.classifier)
    if (statement.scope, statement.scope_text) != expected:
        raise ValueError(f"with this adaptation the scope is {': '.join(expected)}")
    return f"{statement.scope}, as the adaptation has it"


def _words(statement: Statement) -> str:
    if statement.params.formula != formula(statement.decision.rule, statement.params.alpha_split):
        raise ValueError("the formula is not that of the rule")
    selected = statement.request.selection_samples
    expected = SCHEMAS[statement.schema].limits(selected, statement.samples_used - selected)
    if list(statement.limits) != expected:
        raise ValueError("the limits are not those of this schema and these numbers of samples")
    return "formula and limits are those of the schema"
