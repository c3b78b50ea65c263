"""The seal of the API host on what an engine left: nothing is signed that does not verify and is not about the job."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis import Redis

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.schema import Statement, parse, read
from certrad.models.certificates.signature import public_key, signed
from certrad.models.certificates.verify import Issuer, same_image, verify
from certrad.models.errors import Rejected
from certrad.models.types import CertifyRequest
from certrad.models.types.tuning import TuningRequest
from certrad.workers.certificate_store import store_certificate
from certrad.workers.connection import connect
from certrad.workers.contract import uploads
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import document_key
from certrad.workers.contract.records import Records
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.queue.failures import failing_the_job
from certrad.workers.settings import WorkerSettings

_CLAIM: Final = ("outcome", "reason", "class_index", "label", "radius", "p_a_lower", "p_b_upper", "target_reached")
_REPEATED: Final = ("scope", "scope_text", "decision", "samples_used", "radius_in_image_units")
"""What a result says in the words of its document."""


def sealed(left: bytes, result: Mapping[str, Any], record: JobRecord, key: Ed25519PrivateKey) -> bytes:
    """The signed document, byte for byte as it is to be stored.

    left, result: what an engine left of the job. Every check of `verify` must hold, and document, result and record
    must agree. That the labels are true cannot be seen here: it takes the image and the model
    (`certrad.models.replay.replay`).
    Raises Rejected invalid_certificate with the first thing that does not hold.
    """
    try:
        content = canonical(signed(json.loads(left), key))
        verification = verify(content, Issuer(public_keys=frozenset({public_key(key)}), secrets={}))
        for check in verification.checks:
            if not check.ok:
                raise ValueError(f"{check.name}: {check.detail}")
        document = parse(content)
        _about(read(document), record)
        _says(document, result)
    except (ValueError, TypeError) as refusal:
        raise Rejected("invalid_certificate", str(refusal)) from refusal
    except Rejected as rejected:
        raise Rejected("invalid_certificate", rejected.detail) from rejected
    return content


def _about(statement: Statement, record: JobRecord) -> None:
    """Raises ValueError unless the document answers the request of the job, on its image."""
    asked, answered = record.request, statement.request
    if not isinstance(asked, CertifyRequest) or record.image is None:
        raise ValueError("the job did not ask for a certificate, or its image was never decoded")
    if (asked.classifier, asked.params, asked.routing) != (answered.classifier, answered.params, answered.routing):
        raise ValueError("the document is about another request than that of the job")
    same_image(statement, record.image)


def _says(document: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Raises ValueError unless the result claims what the document does, no more and no less."""
    stated = {**document["claim"], **{name: document[name] for name in _REPEATED}}
    told = {name: result[name] for name in (*_CLAIM, *_REPEATED) if name in result}
    if canonical(told) != canonical(stated):
        raise ValueError("the result does not claim what the document does")


def finish(job_id: str) -> None:
    """Signs and stores the certificate that an engine left in Redis, deletes the upload and ends the job.

    What does not verify, or is not about the job, is not signed. A tuning has a result only: its prompt was stored and
    published before.
    A job that has ended meanwhile leaves nothing. A second run does no harm; errors are treated as by `decode`.
    """
    settings = WorkerSettings()
    with connect(settings.redis_url) as redis:
        records = Records(redis, ttl=settings.job_ttl)
        if not records.enter(job_id, "finishing") or (record := records.read(job_id)) is None:
            uploads.delete(settings.blobs_dir, job_id)
            return
        with failing_the_job(job_id, settings, records):
            document, result = _left_by_engine(redis, job_id)
            is_tuning = isinstance(record.request, TuningRequest)
            certificate = None if is_tuning else _store(settings, redis, document, result, record)
            records.succeed(job_id, result, certificate=certificate)
            uploads.delete(settings.blobs_dir, job_id)


def _left_by_engine(redis: Redis, job_id: str) -> tuple[bytes, dict[str, Any]]:
    """The document of a certification, empty where there is none, and the result."""
    left = cast("dict[bytes, bytes]", redis.hgetall(document_key(job_id)))
    if not left:
        raise Rejected("worker_lost", "the result waited longer in the job store than it is kept")
    return left.get(b"document", b""), json.loads(left[b"result"])


def _store(settings: WorkerSettings, redis: Redis, document: bytes, result: dict[str, Any], record: JobRecord) -> str:
    """Signs the document, with a key that is public by then, and stores it; its digest is returned."""
    keys = SigningKeys(settings.signing_dir)
    try:
        content = sealed(document, result, record, keys.current())
        keys.publish(Keyring(redis))
        return store_certificate(settings.certificates_dir, content)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the certificate was not stored: {error.strerror}") from error
