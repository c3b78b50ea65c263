"""The ends of a job that touch the disk: `decode` or `unpack` before the engine, `finish` after it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog
from redis import Redis
from redis.exceptions import ConnectionError, OutOfMemoryError, TimeoutError
from rq.timeouts import BaseTimeoutException, JobTimeoutException

from models.errors import Rejected
from models.types import CertifyRequest
from models.types.tuning import TuningRequest
from workers.certificate_store import delete_blob, read_blob, store_certificate
from workers.connection import connect
from workers.contract.keyring import Keyring
from workers.contract.names import document_key, input_key
from workers.contract.queues import enqueue
from workers.contract.records import JobRecord, Records
from workers.contract.tuning_images import LEFT
from workers.intake.decode import decode_limited
from workers.intake.tuning_images import leave_images
from workers.issue import sealed
from workers.keys.signing import SigningKeys
from workers.sandbox.child import SandboxError
from workers.settings import WorkerSettings


def decode(job_id: str) -> None:
    """Decodes the upload of a job into the model input, leaves it in Redis and sends the job to an engine.

    A second run does no harm. That Redis cannot be reached is raised, so that RQ tries again; all else ends the job.
    """
    _begin(job_id, _decode)


def unpack(job_id: str) -> None:
    """Decodes the images of a tuning that the engine needs, leaves them in Redis and sends the job to an engine.

    A second run does no harm; errors are treated as by `decode`.
    """
    _begin(job_id, _unpack)


def _begin(job_id: str, stage: Callable[[JobRecord, WorkerSettings, Redis, Records], bool]) -> None:
    """Runs the first stage of a job, which answers whether the job goes on, and sends the job to an engine."""
    settings = WorkerSettings()
    with connect(settings.redis_url) as redis:
        records = Records(redis, ttl=settings.job_ttl)
        record = records.read(job_id)
        if record is None or record.ended:
            delete_blob(settings.blobs_dir, job_id)
            return
        with _failing_the_job(job_id, settings, records):
            if stage(record, settings, redis, records):
                enqueue(redis, record.request.kind, job_id, settings=settings, urgent=record.request.urgent)
            else:
                delete_blob(settings.blobs_dir, job_id)


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
            delete_blob(settings.blobs_dir, job_id)
            return
        with _failing_the_job(job_id, settings, records):
            document, result = _left_by_engine(redis, job_id)
            is_tuning = isinstance(record.request, TuningRequest)
            certificate = None if is_tuning else _store(settings, redis, document, result, record)
            records.succeed(job_id, result, certificate=certificate)
            delete_blob(settings.blobs_dir, job_id)


@contextmanager
def _failing_the_job(job_id: str, settings: WorkerSettings, records: Records) -> Iterator[None]:
    """Ends the job with a code for every error but those after which RQ runs or buries the task itself."""
    try:
        yield
    except JobTimeoutException:  # it would take as long again, and others' images wait
        records.fail(job_id, "job_timeout", f"the job ran longer than {settings.job_timeout} s")
        delete_blob(settings.blobs_dir, job_id)
    except (ConnectionError, TimeoutError, BaseTimeoutException):
        raise
    except Rejected as rejected:
        records.fail(job_id, rejected.code, rejected.detail)
        delete_blob(settings.blobs_dir, job_id)
    except OutOfMemoryError:
        records.fail(job_id, "redis_unavailable", "the job store is full")
        delete_blob(settings.blobs_dir, job_id)
    except Exception as error:
        in_sandbox = str(error) if isinstance(error, SandboxError) else None
        structlog.get_logger().error("intake failed", job_id=job_id, in_sandbox=in_sandbox, exc_info=error)
        records.fail(job_id, "internal_error", "an unexpected error; its trace is in the log")
        delete_blob(settings.blobs_dir, job_id)


def _decode(record: JobRecord, settings: WorkerSettings, redis: Redis, records: Records) -> bool:
    if record.image is not None and redis.exists(input_key(record.id)):
        return True
    if not records.enter(record.id, "decoding"):
        return False
    request = cast("CertifyRequest", record.request)
    pixels, facts = decode_limited(_upload(settings, record.id), request, settings)
    left = records.leave_input(record.id, pixels.tobytes(), settings.input_ttl)
    return left and records.enter(record.id, "waiting", image=facts)


def _unpack(record: JobRecord, settings: WorkerSettings, redis: Redis, records: Records) -> bool:
    if record.image is not None and redis.hlen(input_key(record.id)) == LEFT.validate_python(record.image).count:
        return True
    if not records.enter(record.id, "unpacking"):
        return False
    request = cast("TuningRequest", record.request)
    left = leave_images(record.id, _upload(settings, record.id), request, settings, redis, records)
    return left is not None and records.enter(record.id, "waiting", image=left)


def _upload(settings: WorkerSettings, job_id: str) -> bytes:
    try:
        return read_blob(settings.blobs_dir, job_id)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the upload cannot be read: {error.strerror}") from error


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
