"""The RQ task that ends a job: checks and signs what an engine handed over, stores it, and closes the record.

Nothing is signed that does not verify and is not about the job.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis import Redis

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.reader import parse, read
from certrad.models.certificates.schema import Statement
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.verify import Issuer, same_image, verify
from certrad.models.errors import Rejected
from certrad.models.types import CertifyRequest
from certrad.models.types.image import ImageRecord
from certrad.models.types.tuning import TuningRequest
from certrad.workers.certificate_store import store_certificate
from certrad.workers.connection import connect
from certrad.workers.contract import uploads
from certrad.workers.contract.job import JobRecord, JobResult
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.payloads import HandOver, Payloads
from certrad.workers.contract.records import Records
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.queue.failures import failing_the_job
from certrad.workers.settings import WorkerSettings

_CLAIM: Final = ("outcome", "reason", "class_index", "label", "radius", "p_a_lower", "p_b_upper", "target_reached")
_REPEATED: Final = ("scope", "scope_text", "decision", "samples_used", "radius_in_image_units")
"""What a result says in the words of its document."""


def finish(job_id: str) -> None:
    """Signs and stores the certificate that an engine put into Redis, deletes the upload and ends the job.

    What does not verify, or is not about the job, is not signed. A tuning has a result only: its prompt was stored and
    published before. A job that has ended meanwhile leaves nothing. A second run does no harm.

    Args:
        job_id: The job's id.

    Raises:
        ConnectionError: Redis cannot be reached, so that RQ tries again.
        TimeoutError: Redis does not answer, so that RQ tries again.
    """
    settings = WorkerSettings()
    with connect(settings.redis_url) as redis:
        records = Records(redis, ttl=settings.job_ttl)
        if not records.enter(job_id, "finishing") or (record := records.read(job_id)) is None:
            uploads.delete(settings.blobs_dir, job_id)
            return
        with failing_the_job(job_id, settings, records):
            hand_over = _read_hand_over(redis, settings, job_id)
            is_tuning = isinstance(record.request, TuningRequest)
            certificate = None if is_tuning else _store(settings, redis, hand_over, record)
            records.succeed(job_id, hand_over.result, certificate=certificate)
            uploads.delete(settings.blobs_dir, job_id)


def sign_document(document: bytes, result: JobResult, record: JobRecord, key: Ed25519PrivateKey) -> bytes:
    """Returns the signed document, byte for byte as it is to be stored.

    Every check of `verify` must hold, and document, result and record must agree. Whether the labels are true cannot be
    seen here: it takes the image and the model (`certrad.models.replay.replay`).

    Args:
        document: What an engine handed over, JSON.
        result: The result that it handed over.
        record: The job.
        key: The signing key.

    Raises:
        Rejected: `invalid_certificate`, with the first thing that does not hold.
    """
    try:
        content = canonical(sign(json.loads(document), key))
        verification = verify(content, Issuer(public_keys=frozenset({public_key(key)}), secrets={}))
        for check in verification.checks:
            if not check.ok:
                raise ValueError(f"{check.name}: {check.detail}")
        parsed = parse(content)
        _check_subject(read(parsed), record)
        _check_result(parsed, result)
    except (ValueError, TypeError) as refusal:
        raise Rejected("invalid_certificate", str(refusal)) from refusal
    except Rejected as rejected:
        raise Rejected("invalid_certificate", rejected.detail) from rejected
    return content


def _check_subject(statement: Statement, record: JobRecord) -> None:
    """Raises ValueError unless the document answers the request of the job, on its image."""
    asked, answered = record.request, statement.request
    if not isinstance(asked, CertifyRequest) or not isinstance(record.image, ImageRecord):
        raise ValueError("the job did not ask for a certificate, or its image was never decoded")
    if (asked.classifier, asked.sigma, asked.params) != (answered.classifier, answered.sigma, answered.params):
        raise ValueError("the document is about another request than that of the job")
    same_image(statement, record.image)


def _check_result(document: Mapping[str, Any], result: JobResult) -> None:
    """Raises ValueError unless the result claims what the document does, no more and no less."""
    stated = {**document["claim"], **{name: document[name] for name in _REPEATED}}
    told = {name: value for name, value in asdict(result).items() if name in (*_CLAIM, *_REPEATED)}
    # A document leaves out what a result tells as null.
    told = {name: value for name, value in told.items() if value is not None}
    if canonical(told) != canonical(stated):
        raise ValueError("the result does not claim what the document does")


def _read_hand_over(redis: Redis, settings: WorkerSettings, job_id: str) -> HandOver:
    try:
        hand_over = Payloads(redis, ttl=settings.input_ttl).read_hand_over(job_id)
    except (KeyError, ValueError) as error:
        raise Rejected("invalid_certificate", "the result of the engine is not one that this version writes") from error
    if hand_over is None:
        raise Rejected("worker_lost", "the result waited longer in the job store than it is kept")
    return hand_over


def _store(settings: WorkerSettings, redis: Redis, hand_over: HandOver, record: JobRecord) -> str:
    """Signs the document, with a key that is public by then, and stores it; its digest is returned."""
    keys = SigningKeys(settings.signing_dir)
    try:
        content = sign_document(hand_over.document or b"", hand_over.result, record, keys.current())
        keys.publish(Keyring(redis))
        return store_certificate(settings.certificates_dir, content)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the certificate was not stored: {error.strerror}") from error
