"""The two ends of a job that touch the disk: `decode` before the engine, `finish` after it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Final, cast

import structlog
from pydantic import TypeAdapter, ValidationError
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError
from rq.timeouts import BaseTimeoutException

from models.certificate import canonical
from models.errors import Rejected
from models.image import ImageFacts, ModelInput, check_size, image_scale, model_input
from models.signing import signed
from models.types import BackboneCard, CertifyRequest
from workers import dicom, raster
from workers.connection import connect
from workers.contract.cards import shipped_backbones
from workers.contract.formats import sniff
from workers.contract.keys import Keyring
from workers.contract.names import document_key, input_key
from workers.contract.queues import enqueue
from workers.contract.records import JobRecord, Records
from workers.sandbox import Answer, SandboxError, run_limited
from workers.settings import WorkerSettings
from workers.signing_keys import SigningKeys
from workers.storage import delete_blob, read_blob, store_certificate

_FACTS: Final = TypeAdapter(ImageFacts)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def decode(job_id: str) -> None:
    """Decodes the upload of a job into the model input, leaves it in Redis and sends the job to an engine.

    A second run does no harm. That Redis cannot be reached is raised, so that RQ tries again; all else ends the job.
    """
    settings = WorkerSettings()
    with connect(settings.redis_url) as redis:
        records = Records(redis, ttl=settings.job_ttl)
        record = records.read(job_id)
        if record is None or record.ended:
            delete_blob(settings.blobs_dir, job_id)
            return
        with _failing_the_job(job_id, settings, records):
            _decode(record, settings, redis, records)


def finish(job_id: str) -> None:
    """Signs and stores the certificate that an engine left in Redis, deletes the upload and ends the job.

    A job that has ended meanwhile leaves nothing. A second run does no harm; errors are treated as by `decode`.
    """
    settings = WorkerSettings()
    with connect(settings.redis_url) as redis:
        records = Records(redis, ttl=settings.job_ttl)
        if not records.enter(job_id, "finishing"):
            delete_blob(settings.blobs_dir, job_id)
            return
        with _failing_the_job(job_id, settings, records):
            document, result = _left_by_engine(redis, job_id)
            records.succeed(job_id, result, certificate=_store(settings, redis, document))
            delete_blob(settings.blobs_dir, job_id)


@contextmanager
def _failing_the_job(job_id: str, settings: WorkerSettings, records: Records) -> Iterator[None]:
    """Ends the job with a code for every error but those after which RQ runs or buries the task itself."""
    try:
        yield
    except (ConnectionError, TimeoutError, BaseTimeoutException):
        raise
    except Rejected as rejected:
        records.fail(job_id, rejected.code, rejected.detail)
        delete_blob(settings.blobs_dir, job_id)
    except Exception as error:
        in_sandbox = str(error) if isinstance(error, SandboxError) else None
        structlog.get_logger().error("intake failed", job_id=job_id, in_sandbox=in_sandbox, exc_info=error)
        records.fail(job_id, "internal_error", "an unexpected error; its trace is in the log")
        delete_blob(settings.blobs_dir, job_id)


def _decode(record: JobRecord, settings: WorkerSettings, redis: Redis, records: Records) -> None:
    if not _is_decoded(record, redis):
        if not records.enter(record.id, "decoding"):
            delete_blob(settings.blobs_dir, record.id)
            return
        pixels, facts = decode_limited(_upload(settings, record.id), record.request, settings)
        left = records.leave_input(record.id, pixels.tobytes(), settings.input_ttl)
        if not (left and records.enter(record.id, "waiting", image=facts)):
            delete_blob(settings.blobs_dir, record.id)
            return
    enqueue(redis, "certify", record.id, settings=settings, urgent=record.request.urgent)


def _upload(settings: WorkerSettings, job_id: str) -> bytes:
    try:
        return read_blob(settings.blobs_dir, job_id)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the upload cannot be read: {error.strerror}") from error


def _is_decoded(record: JobRecord, redis: Redis) -> bool:
    return record.image is not None and bool(redis.exists(input_key(record.id)))


def decode_limited(data: bytes, request: CertifyRequest, settings: WorkerSettings) -> tuple[ModelInput, dict[str, Any]]:
    """The model input of an upload, decoded in a sandbox, and what may be told of the image.

    The facts are those of `ImageFacts` with `pixels_sha256`, `input_sha256` and `shape` of the input, and `scale`, the
    `ImageScale` between the two.

    Raises Rejected for what the bytes or the request are to blame for; SandboxError for defects of ours.
    """
    card = _backbone(request)
    answer = run_limited(
        partial(_decode_bytes, data, request, settings.max_pixels, card),
        memory_bytes=settings.intake_memory_bytes,
        cpu_seconds=settings.intake_cpu_seconds,
        max_payload=ModelInput.size_in_bytes(card.image_size),
        hidden=settings.data_dir,
    )
    try:
        return _checked(answer, request, settings.max_pixels, card)
    except (ValueError, ValidationError) as error:
        raise Rejected("unreadable_image", "the decoder broke on this file") from error


def _backbone(request: CertifyRequest) -> BackboneCard:
    backbone = request.classifier.backbone
    if (card := shipped_backbones().get(backbone)) is None:
        raise Rejected("unknown_backbone", f"no card is named {backbone!r}")
    return card


def _decode_bytes(
    data: bytes, request: CertifyRequest, max_pixels: int, card: BackboneCard
) -> tuple[dict[str, Any], bytes]:
    """Runs in the sandbox."""
    if not data:
        raise Rejected("empty_image", "an image is expected, got 0 bytes")
    match sniff(data):
        case None:
            raise Rejected("unsupported_format", "the first bytes are of no PNG, JPEG, TIFF or DICOM file")
        case "dicom":
            picture = dicom.decode(data, max_pixels=max_pixels, frame=request.frame, region=request.region)
        case raster_format:
            if request.frame not in (None, 1):
                raise Rejected("frame_out_of_range", f"`frame` is expected in 1..1, got {request.frame}")
            picture = raster.decode(data, raster_format, max_pixels=max_pixels, region=request.region)
    header = {"facts": _FACTS.dump_python(picture.facts, mode="json"), "pixels_sha256": picture.sha256}
    return header, model_input(picture, card.image_size, card.fit).tobytes()


def _checked(
    answer: Answer, request: CertifyRequest, max_pixels: int, card: BackboneCard
) -> tuple[ModelInput, dict[str, Any]]:
    """What the sandbox said, believed only as far as it can be checked; raises ValueError or Rejected otherwise."""
    pixels = ModelInput.from_bytes(answer.payload, card.image_size)
    facts = _FACTS.validate_python(answer.header.get("facts"))
    check_size(rows=facts.rows, columns=facts.columns, max_pixels=max_pixels)
    digest = answer.header.get("pixels_sha256")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError("pixels_sha256 must be 64 hexadecimal digits")
    return pixels, {
        **_FACTS.dump_python(facts, mode="json"),
        "pixels_sha256": digest,
        "input_sha256": pixels.sha256,
        "shape": pixels.pixels.shape,
        "scale": asdict(image_scale(facts, request.region, card.image_size, card.fit)),
    }


def _left_by_engine(redis: Redis, job_id: str) -> tuple[bytes, dict[str, Any]]:
    left = cast("dict[bytes, bytes]", redis.hgetall(document_key(job_id)))
    if not left:
        raise Rejected("worker_lost", "the certificate waited longer in the job store than it is kept")
    return left[b"document"], json.loads(left[b"result"])


def _store(settings: WorkerSettings, redis: Redis, document: bytes) -> str:
    """Signs the document, with a key that is public by then, and stores it; its digest is returned."""
    keys = SigningKeys(settings.signing_dir)
    try:
        content = canonical(signed(json.loads(document), keys.current()))
        keys.publish(Keyring(redis))
        return store_certificate(settings.certificates_dir, content)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the certificate was not stored: {error.strerror}") from error
