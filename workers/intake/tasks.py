"""RQ tasks of the intake queue: decode or unpack an upload, and send the job to an engine."""

import io
from collections.abc import Callable
from typing import cast

import structlog
from redis import Redis

from certrad.models.errors import Rejected
from certrad.models.images.model_input import ModelInput
from certrad.models.images.png import encode_png
from certrad.models.types import CertifyRequest
from certrad.models.types.image import ImageRecord
from certrad.models.types.tuning import TuningRequest
from certrad.workers.connection import connect
from certrad.workers.contract import uploads
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import input_key
from certrad.workers.contract.payloads import Payloads
from certrad.workers.contract.queues import enqueue
from certrad.workers.contract.records import Records
from certrad.workers.contract.tuning_images import TuningImages
from certrad.workers.intake.decode import backbone_card, decode_labelled
from certrad.workers.intake.tuning_images import put_images
from certrad.workers.queue import stopping
from certrad.workers.queue.failures import end_job_on_error
from certrad.workers.queue.shortage import require_room
from certrad.workers.settings import WorkerSettings

_log = structlog.get_logger()


def decode(job_id: str) -> None:
    """Decodes the upload of a job into the model input, puts it into Redis and sends the job to an engine.

    A second run does no harm. Every error but a lost Redis ends the job with a code.

    Args:
        job_id: The job's id.

    Raises:
        ConnectionError: Redis cannot be reached, so that RQ tries again.
        TimeoutError: Redis does not answer, so that RQ tries again.
        ShortageError: The job store has no room for the image, so that RQ tries again later.
    """
    _run_first_stage(job_id, _decode)


def unpack(job_id: str) -> None:
    """Decodes the images of a tuning that the engine needs, puts them into Redis and sends the job to an engine.

    A second run does no harm; errors are treated as by `decode`.

    Args:
        job_id: The job's id.

    Raises:
        ConnectionError: Redis cannot be reached, so that RQ tries again.
        TimeoutError: Redis does not answer, so that RQ tries again.
        ShortageError: The job store has no room for the images, so that RQ tries again later.
    """
    _run_first_stage(job_id, _unpack)


def _run_first_stage(job_id: str, stage: Callable[[JobRecord, WorkerSettings, Redis, Records], bool]) -> None:
    """Runs the first stage of a job, and sends the job to an engine if the stage returns that it goes on."""
    settings = WorkerSettings()
    with connect(settings) as redis:
        records = Records(redis, ttl=settings.job_ttl)
        record = records.read(job_id)
        if record is None or record.ended:
            uploads.delete(settings.blobs_dir, job_id)
            return
        with end_job_on_error(job_id, settings, records), stopping.until(record.submission.deadline_at):
            if stage(record, settings, redis, records):
                enqueue(
                    redis,
                    record.request.kind,
                    job_id,
                    settings=settings,
                    urgent=record.request.urgent,
                    tenant=record.submission.tenant,
                )
            else:
                uploads.delete(settings.blobs_dir, job_id)


def _decode(record: JobRecord, settings: WorkerSettings, redis: Redis, records: Records) -> bool:
    if record.image is not None and redis.exists(input_key(record.id)):
        return True
    request = cast("CertifyRequest", record.request)
    card = backbone_card(request.classifier.backbone, Catalogue(redis).backbones())
    require_room(redis, ModelInput.size_in_bytes(card.image_size))
    if not records.enter(record.id, "decoding"):
        return False
    pixels, image, labels = decode_labelled(_upload(settings, record.id), request, card, settings)
    payloads = Payloads(redis, ttl=settings.input_ttl)
    content = input_content(pixels, image)
    require_room(redis, len(content))
    is_there = payloads.put_input(record.id, content)
    if is_there:
        _keep_what_the_model_sees(record.id, pixels, settings)
    total = request.samples_with(len(image.variants))
    return is_there and records.enter(record.id, "waiting", image=image, labels=labels, samples_total=total)


def input_content(pixels: ModelInput, image: ImageRecord) -> bytes:
    """Returns what the engine reads: the image that gets the noise, its variants, and its values before the window.

    Args:
        pixels: The decoded image.
        image: What its record says about it. Of the three equal channels of a grey variant only one is kept.
    """
    noised = pixels if pixels.rendered is None else pixels.rendered
    variants = [variant.pixels[: image.channels].astype("<f4").tobytes() for variant in pixels.variants]
    return b"".join([noised.tobytes(), *variants, b"" if pixels.grey is None else pixels.grey.tobytes()])


def _keep_what_the_model_sees(job_id: str, pixels: ModelInput, settings: WorkerSettings) -> None:
    """Stores the PNG of GET /jobs/{id}/input; a certificate does not need it, so a full disk does not end the job."""
    try:
        uploads.store(settings.outputs_dir, job_id, io.BytesIO(encode_png(pixels.pixels)))
    except Rejected as rejected:
        _log.warning("model input not kept", job_id=job_id, reason=rejected.detail)


def _unpack(record: JobRecord, settings: WorkerSettings, redis: Redis, records: Records) -> bool:
    if isinstance(record.image, TuningImages) and redis.hlen(input_key(record.id)) == record.image.count:
        return True
    if not records.enter(record.id, "unpacking"):
        return False
    request = cast("TuningRequest", record.request)
    card = backbone_card(request.backbone, Catalogue(redis).backbones())
    images = put_images(record.id, _upload(settings, record.id), request, card, settings, redis, records)
    return images is not None and records.enter(record.id, "waiting", image=images)


def _upload(settings: WorkerSettings, job_id: str) -> bytes:
    try:
        return uploads.read(settings.blobs_dir, job_id)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the upload cannot be read: {error.strerror}") from error
