"""Verification of a certificate document: nobody changed it, and its claim follows from its labels.

The document may come in any of the forms that `certrad.models.certificates.envelopes` has.

The labels themselves are checked by drawing them again, which needs the image and the model
(`certrad.models.replay.replay`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from certrad.models.certificates import checks, image_checks, routed_checks
from certrad.models.certificates.envelopes.opening import MAX_ENVELOPE_BYTES, Form, Opened, open_certificate
from certrad.models.certificates.findings import Check, Skipped
from certrad.models.certificates.further_claims import further_checks, further_samples
from certrad.models.certificates.issuer import Issuer, IssuerStatus, ProvenTime, check_issuer
from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.schemas.schema import SCHEMAS, read
from certrad.models.certificates.signature import is_signed, signer
from certrad.models.certificates.statement import StatedCertificate, StatedRouting, Statement
from certrad.models.certificates.text import formula
from certrad.models.certificates.time_stamp import TimeStampError, TimeStampTrust, latest_time
from certrad.models.certificates.variants import check_variants
from certrad.models.images.units import radius_in_image_units
from certrad.models.types import CertifyRequest
from certrad.models.types.image import ImageRecord

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "Check",
    "Issuer",
    "Opened",
    "ProvenTime",
    "Skipped",
    "TimeStampError",
    "TimeStampTrust",
    "Verification",
    "check_image",
    "latest_time",
    "open_certificate",
    "run_check",
    "verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every check of a document.

    Attributes:
        checks: The checks that were made, in order.
        issuer: Whether it is signed with a key of the issuer's.
        skipped: The checks that were not made.
        form: The form that the file had; None if it holds no certificate.
        reformatted: Whether the file was spelled in another way than the service spells it.
        certificate: SHA-256 of the document, as the service stores it; None if the file holds no certificate.
    """

    checks: tuple[Check, ...]
    issuer: IssuerStatus
    skipped: tuple[Skipped, ...] = ()
    form: Form | None = None
    reformatted: bool = False
    certificate: str | None = None

    @property
    def valid(self) -> bool:
        """Returns whether every check that was made holds."""
        return all(check.ok for check in self.checks)


def verify(content: bytes, issuer: Issuer | None = None, proven_time: ProvenTime | None = None) -> Verification:
    """Checks the bytes of a file. Without an issuer, it does not check who signed.

    A document of the largest size takes some seconds.

    Args:
        content: A document, a DSSE envelope or a JWS.
        issuer: What the issuer has published; None if it is not known.
        proven_time: Reads the time stamp of the signature; called only where the signing key was revoked.

    Returns:
        Every check, refused ones included, and what was not checked.

    Raises:
        Rejected: `not_a_certificate`, for bytes that are no document.
    """
    opened = open_certificate(content)
    checks = [
        run_check("canonical", partial(_canonical, opened)),
        *([] if opened.check_envelope is None else [run_check("envelope", opened.check_envelope)]),
        run_check("signature", partial(_signature, opened.document)),
    ]
    of_issuer, status = check_issuer(opened, issuer, proven_time)
    skipped = () if issuer is not None else (Skipped("issuer", "no public keys were given"),)
    of_claim, left = _claim(opened.document, issuer)
    return Verification(
        checks=(*checks, *of_issuer, *of_claim),
        issuer=status,
        skipped=(*skipped, *left),
        form=opened.form,
        reformatted=opened.reformatted,
        certificate=opened.sha256,
    )


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
    if image.noisy != statement.classifier.noisy_image:
        raise ValueError("the rendered image made of these pixels, which noise is added to, is another one")
    if subject.window is not None and image.window != subject.window:
        raise ValueError("the window that makes these pixels is not that of the certificate")
    if (variants := statement.variants) is not None and variants.rows:
        check_variants(variants.rows, image.variants)
    if statement.unsmoothed is not None and statement.unsmoothed.rows:
        check_variants(statement.unsmoothed.rows, image.variants)
    if (parameters := statement.parameters) is not None and (
        image.grey is None or image.grey.sha256 != parameters.values_sha256
    ):
        raise ValueError("the values before the window are not those of the certificate")
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


def _claim(document: Mapping[str, Any], issuer: Issuer | None) -> tuple[list[Check], list[Skipped]]:
    """Returns the checks of what a document claims, and those that cannot be made."""
    try:
        statement = read(document)
        tests = _tests(statement, issuer)
    except ValueError as refusal:
        return [Check("schema", False, str(refusal))], []
    left = []
    if _is_unrevealed(statement, issuer):
        left = [Skipped("noise_key", "the secret of this epoch is not known here, or not revealed yet")]
    fields = Check("schema", True, "every field is there, and in its range")
    return [fields, *(run_check(name, test) for name, test in tests.items())], left


def _tests(statement: Statement, issuer: Issuer | None) -> dict[str, Callable[[], str]]:
    """Returns the tests by name.

    Raises:
        ValueError: The request is impossible, or counts or labels do not fit it.
    """
    request, routing, noisy = statement.request, statement.routing, statement.classifier.noisy_image
    n_classes = len(request.classifier.class_names)
    drawn = [statement.estimation, *further_samples(statement)]
    if {len(statement.selection.per_class), *(len(samples.per_class) for samples in drawn)} != {n_classes}:
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
        **({} if noisy is None else {"noise_space": partial(image_checks.noise_space, statement, noisy)}),
        "image_units": partial(image_checks.image_units, statement),
        **further_checks(statement),
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


def _canonical(opened: Opened) -> str:
    if opened.reformatted:
        return "reformatted: the file has other bytes than the service wrote; its canonical form was checked"
    return "the bytes are canonical JSON"


def _signature(document: Mapping[str, Any]) -> str:
    if document.get("signature") is None:
        raise ValueError("the document is not signed")
    if not is_signed(document):
        raise ValueError("the document was changed after it was signed, or the signature is malformed")
    return f"Ed25519, by the public key {signer(document)}"


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
    if (variants := statement.variants) is not None:
        for row in variants.rows:
            _check_key(statement, row.input_sha256, row.key, issuer.secrets[epoch])
    if (parameters := statement.parameters) is not None and parameters.key is not None:
        _check_key(statement, parameters.values_sha256, parameters.key, issuer.secrets[epoch])
    return "the noise key follows from the image, the classifier, the settings and the revealed secret"


def _check_key(statement: Statement, sha256: str, stated: str, secret: bytes) -> None:
    """Checks the noise key of a variant or of values before the window, by the digest that it follows from."""
    other = replace(statement, subject=replace(statement.subject, input_sha256=sha256))
    if SCHEMAS[statement.schema].key(other, secret).hex() != stated:
        raise ValueError("the noise key of a further claim is not that of its model input or values")


def _scope(statement: Statement, request: CertifyRequest) -> str:
    expected = request.classifier.scope, SCHEMAS[statement.schema].scope_text(statement.classifier)
    if (statement.scope, statement.scope_text) != expected:
        raise ValueError(f"with this adaptation the scope is {': '.join(expected)}")
    return f"{statement.scope}, as the adaptation has it"


def _words(statement: Statement) -> str:
    if statement.params.formula != formula(statement.decision.rule, statement.params.alpha_split):
        raise ValueError("the formula is not that of the rule")
    selected = statement.request.selection_samples
    expected = SCHEMAS[statement.schema].limits(statement.classifier, selected, statement.samples_used - selected)
    if list(statement.limits) != expected:
        raise ValueError("the limits are not those of this schema and these numbers of samples")
    return "formula and limits are those of the schema"
