"""The RQ task that ends a job: checks and signs what an engine handed over, stores it with reports, closes the record.

Nothing is signed that does not verify and is not about the job.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, is_dataclass
from hashlib import sha256
from typing import Final, cast

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis import Redis
from rq.timeouts import BaseTimeoutException

from certrad.models.certificates import set_checks
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.envelopes import dsse, jws
from certrad.models.certificates.further_claims import stated_results
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.statement import Statement
from certrad.models.certificates.verify import Issuer, check_image, verify
from certrad.models.errors import Rejected
from certrad.models.types import CertifyRequest
from certrad.models.types.calibration import InstalledCalibration
from certrad.models.types.figures import FIGURES
from certrad.models.types.image import ImageRecord
from certrad.models.types.tuning import TuningRequest, TuningResult
from certrad.workers.certificate_store import store_certificate
from certrad.workers.connection import connect
from certrad.workers.contract import figures, outputs, uploads
from certrad.workers.contract.audit import open_trail
from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.calibrations import Calibrations
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.certificate_files import CertificateFile, path
from certrad.workers.contract.certificate_owners import CertificateOwners
from certrad.workers.contract.job import JobRecord, JobResult
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.outputs import OUTPUTS, OutputOutcomes
from certrad.workers.contract.payloads import HandOver, Payloads
from certrad.workers.contract.records import Records
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.keys.time_stamps import stamp, want_time_stamp
from certrad.workers.queue.failures import end_job_on_error
from certrad.workers.queue.shortage import raise_if_disk_is_full
from certrad.workers.reports.job_reports import StoredCertificate, make_reports
from certrad.workers.settings import WorkerSettings

_log = structlog.get_logger()

_STAMP_SECONDS: Final = 2.0
_CLAIM: Final = ("outcome", "reason", "class_index", "label", "radius", "p_a_lower", "p_b_upper", "target_reached")
_ASKED: Final = ("classifier", "sigma", "params", "noise_space", "variants", "parameter_sigma", "prediction_set")
_REPEATED: Final = ("scope", "scope_text", "decision", "samples_used", "radius_in_image_units")
"""The fields of a result that repeat those of its document."""
_DERIVED: Final = ("window", "noise_space", "variants", "parameters", "prediction_set")
"""The fields of a result that its document states elsewhere."""


def finish(job_id: str) -> None:
    """Signs and stores the certificate that an engine put into Redis, deletes the upload and ends the job.

    It signs nothing that does not verify, or that belongs to another job. The time stamp, if one is wanted, is asked
    for when the job has ended. A tuning has a result only: its prompt was stored and published before. Nothing remains
    of a job that has ended meanwhile. A second run does no harm.

    Args:
        job_id: The job's id.

    Raises:
        ConnectionError: Redis cannot be reached, so that RQ tries again.
        TimeoutError: Redis does not answer, so that RQ tries again.
        ShortageError: The disk is full, so that RQ tries again later.
    """
    settings = WorkerSettings()
    with connect(settings) as redis:
        records = Records(redis, ttl=settings.job_ttl, drift_days=settings.drift_days)
        if not records.enter(job_id, "finishing") or (record := records.read(job_id)) is None:
            uploads.delete(settings.blobs_dir, job_id)
            return
        certificate = None
        with end_job_on_error(job_id, settings, records):
            hand_over = _read_hand_over(redis, settings, job_id)
            if isinstance(record.request, TuningRequest):
                _end_tuning(settings, redis, records, job_id, hand_over.result)
            else:
                certificate = _store(settings, redis, hand_over, record)
                _end_certification(settings, redis, records, record, hand_over, certificate)
            if records.status(job_id) != "succeeded":  # cancelled or erased meanwhile
                outputs.delete(settings.outputs_dir, job_id)
            uploads.delete(settings.blobs_dir, job_id)
        if certificate is not None:
            patience = min(settings.tsa_timeout, _STAMP_SECONDS)  # else maintenance asks, and no other job waits
            stamp(redis, settings.model_copy(update={"tsa_timeout": patience}), certificate.sha256)


def _end_tuning(settings: WorkerSettings, redis: Redis, records: Records, job_id: str, result: JobResult) -> None:
    """Ends a tuning with its result: its prompt was stored and published before."""
    open_trail(settings, redis).record(_event(job_id, None, result))
    records.succeed(job_id, result)


def _end_certification(
    settings: WorkerSettings,
    redis: Redis,
    records: Records,
    record: JobRecord,
    hand_over: HandOver,
    certificate: StoredCertificate,
) -> None:
    """Ends a certification with its certificate, whose figures and reports are kept before.

    Raises:
        ShortageError: The disk is full, so that RQ tries again later.
        BaseTimeoutException: A time limit of RQ has passed.
    """
    _keep_figures(settings, record.id, hand_over)
    made = _report(settings, redis, record, certificate)
    open_trail(settings, redis).record(_event(record.id, certificate.sha256, hand_over.result))
    records.succeed(record.id, hand_over.result, certificate=certificate.sha256, outputs=made)


def _event(job_id: str, certificate: str | None, result: JobResult) -> AuditEvent:
    """Returns the event that a job has its result."""
    if isinstance(result, TuningResult):
        return AuditEvent(name="prompt_tuned", process="intake", job=job_id, prompt=result.prompt)
    return AuditEvent(name="certificate_issued", process="intake", job=job_id, certificate=certificate)


def sign_document(
    document: bytes,
    result: JobResult,
    record: JobRecord,
    key: Ed25519PrivateKey,
    calibrations: Callable[[str], InstalledCalibration | None] = lambda _: None,
    calibration_keys: Collection[str] = (),
) -> bytes:
    """Returns the signed document, byte for byte as it is to be stored.

    Every check of `verify` must pass, and document, result and record must agree. This process cannot check the labels
    themselves: that takes the image and the model (`certrad.models.replay.replay`).

    Args:
        document: The engine's document, JSON.
        result: The engine's result.
        record: The job.
        key: The signing key.
        calibrations: Returns the calibration of an id; None where it is not known.
        calibration_keys: The public keys whose calibrations count.

    Raises:
        Rejected: `invalid_certificate`, with the first check that fails.
    """
    try:
        content = canonical(sign(json.loads(document), key))
        verification = verify(content, Issuer(public_keys=frozenset({public_key(key)}), secrets={}))
        for check in verification.checks:
            if not check.ok:
                raise ValueError(f"{check.name}: {check.detail}")
        statement = read(parse(content))
        _check_subject(statement, record)
        set_checks.require_issued(statement, calibrations, calibration_keys)
        _check_result(statement, result)
    except (ValueError, TypeError) as refusal:
        raise Rejected("invalid_certificate", str(refusal)) from refusal
    except Rejected as rejected:
        raise Rejected("invalid_certificate", rejected.detail) from rejected
    return content


def seal(document: bytes, key: Ed25519PrivateKey) -> dict[CertificateFile, bytes]:
    """Returns the envelopes of a signed document, signed with the same key.

    Args:
        document: The signed document, byte for byte as it is to be stored.
        key: The key that signed it.
    """
    parsed = parse(document)
    return {"dsse": dsse.seal(parsed, key), "jws": jws.seal(parsed, key)}


def _check_subject(statement: Statement, record: JobRecord) -> None:
    """Refuses a document for another request than the job's, or about another image.

    Raises:
        ValueError: It is such a document.
    """
    requested, answered = record.request, statement.request
    if not isinstance(requested, CertifyRequest) or not isinstance(record.image, ImageRecord):
        raise ValueError("the job wants no certificate, or intake never decoded its image")
    if any(getattr(requested, name) != getattr(answered, name) for name in _ASKED):
        raise ValueError("the document belongs to another request than the job's")
    check_image(statement, record.image)


def _check_result(statement: Statement, result: JobResult) -> None:
    """Refuses a result that claims more or less than the document.

    Raises:
        ValueError: It is such a result.
    """
    stated = {**asdict(statement.claim), **{name: _plain(getattr(statement, name)) for name in _REPEATED}}
    stated |= {"window": _plain(statement.subject.window), "noise_space": statement.request.noise_space}
    stated |= stated_results(statement)
    claimed = {name: value for name, value in asdict(result).items() if name in (*_CLAIM, *_REPEATED, *_DERIVED)}
    # A document leaves out what a result states as null.
    if canonical(_without_nulls(claimed)) != canonical(_without_nulls(stated)):
        raise ValueError("the result claims something else than the document")


def _plain(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _without_nulls(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _read_hand_over(redis: Redis, settings: WorkerSettings, job_id: str) -> HandOver:
    try:
        hand_over = Payloads(redis, ttl=settings.input_ttl).read_hand_over(job_id)
    except (KeyError, ValueError) as error:
        raise Rejected("invalid_certificate", "this version cannot read the engine's result") from error
    if hand_over is None:
        raise Rejected("worker_lost", "the result expired in the job store")
    return hand_over


def _keep_figures(settings: WorkerSettings, job_id: str, hand_over: HandOver) -> None:
    """Stores what is drawn beside the certificate, which does not need it: a disk that refuses ends no job."""
    try:
        for figure in FIGURES:
            figures.store(settings.outputs_dir, job_id, figure, hand_over.figures.get(figure, b""))
    except OSError as error:
        _log.warning("figures not kept", job_id=job_id, reason=error.strerror)


def _report(
    settings: WorkerSettings, redis: Redis, record: JobRecord, certificate: StoredCertificate
) -> OutputOutcomes:
    """Makes the reports about a certificate; none of them is worth the end of the job.

    Returns:
        For each kind of report None if it was made, else the code of why it was not.

    Raises:
        ShortageError: The disk is full, so that RQ tries again later.
        BaseTimeoutException: A time limit of RQ has passed.
    """
    task = cast("CertifyRequest", record.request).task
    card = None if task is None else Catalogue(redis).tasks().get(task)
    try:
        return make_reports(record, certificate, {} if card is None else card.codes_by_class, settings)
    except BaseTimeoutException:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            raise_if_disk_is_full(error)
        _log.error("reports not made", job_id=record.id, exc_info=error)
    return dict.fromkeys(OUTPUTS, "output_failed")


def _own(settings: WorkerSettings, content: bytes, tenant: str) -> None:
    """Notes whose a certificate is, before it is stored.

    Raises:
        OSError: The disk refuses.
    """
    digest = sha256(content).hexdigest()
    is_stored = path(settings.certificates_dir, digest, "document").exists()
    CertificateOwners(settings.owners_dir).add(digest, tenant, is_stored=is_stored)


def _store(settings: WorkerSettings, redis: Redis, hand_over: HandOver, record: JobRecord) -> StoredCertificate:
    """Signs the document with a key that is public by then, and stores it with its envelopes.

    Returns:
        The stored document.

    Raises:
        Rejected: storage_unavailable, invalid_certificate.
        ShortageError: The disk is full.
    """
    keys = SigningKeys(settings.signing_dir)
    try:
        key, calibrations = keys.current(), Calibrations(redis).get
        content = sign_document(hand_over.document or b"", hand_over.result, record, key, calibrations, keys.trusted())
        keys.publish(Keyring(redis))
        envelopes = seal(content, key)
        _own(settings, content, record.submission.tenant)
        digest = store_certificate(settings.certificates_dir, content, envelopes)
        want_time_stamp(redis, settings, digest)
        return StoredCertificate(document=content, sha256=digest, jws=envelopes["jws"])
    except OSError as error:
        raise_if_disk_is_full(error)
        raise Rejected("storage_unavailable", f"the certificate was not stored: {error.strerror}") from error
