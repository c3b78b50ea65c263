"""Takes the images that an engine needs from the archive of a tuning, decoded in sandboxes."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal

from pydantic import NonNegativeInt, TypeAdapter
from redis import Redis

from certrad.models.datasets.cards import published_labels
from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import check_size
from certrad.models.images.model_input import ModelInput, image_map
from certrad.models.prompts.training.image_choice import choose_images
from certrad.models.types import BackboneCard
from certrad.models.types.noise_space import ImageMap
from certrad.models.types.total_variation import most_values
from certrad.models.types.tuning import TuningRequest
from certrad.models.types.window import FileWindow
from certrad.workers.contract.job_store import read_memory
from certrad.workers.contract.names import input_key
from certrad.workers.contract.payloads import Payloads
from certrad.workers.contract.records import Records
from certrad.workers.contract.tuning_images import TuningImages
from certrad.workers.intake.archive import PATH_MAX, ArchiveLimits, list_images, match_classes, read_images, shown
from certrad.workers.intake.archive_budget import ArchiveBudget
from certrad.workers.intake.decode import cpu_allowance, decode_bytes
from certrad.workers.queue.shortage import INPUT_SHARE, require_room
from certrad.workers.sandbox.child import allow_cpu_seconds, run_limited
from certrad.workers.settings import WorkerSettings

Shape = tuple[int, int, Literal[1, 3]]
"""Rows, columns and channels of an image."""

_TOGETHER: Final = 16  # a process for each image would cost more than its decoding
_COUNT: Final = TypeAdapter(NonNegativeInt)
_SHAPES: Final[TypeAdapter[list[Shape]]] = TypeAdapter(list[tuple[int, int, Literal[1, 3]]])
_LISTING: Final = TypeAdapter(dict[str, list[str]])
_OF_A_LISTING: Final = {"image_too_large": "archive_too_large", "unreadable_image": "invalid_archive"}


def put_images(
    job_id: str,
    archive: bytes,
    request: TuningRequest,
    card: BackboneCard,
    settings: WorkerSettings,
    redis: Redis,
    records: Records,
) -> TuningImages | None:
    """Decodes the images that a request needs, and puts each into Redis.

    Args:
        job_id: The job's id.
        archive: The upload, a zip with a folder of images for each class.
        request: What is tuned.
        card: The backbone of the request, which names the size of the model input.
        settings: Limits of archive and sandbox.
        redis: The job store.
        records: Gets the progress.

    Returns:
        The facts of the images; None when the job has ended meanwhile.

    Raises:
        Rejected: The archive is to blame; the detail names the path of the file where it is one.
        ShortageError: The job store has no room for the images now.
        SandboxError: Our code is to blame.
    """
    folders = _listed(archive, settings)
    classes = match_classes(folders, request.class_names, published_labels(request.task))
    paths = [path for folder in classes.folders for path in folders[folder]]
    labels = [label for label, folder in enumerate(classes.folders) for _ in folders[folder]]
    chosen = choose_images(labels, classes.class_names, request.params)
    order = (*chosen.training, *chosen.validation)
    _check_room(job_id, len(order), card, settings, redis)
    budget = ArchiveBudget(archive_bytes=len(archive), images=len(order), settings=settings)
    payloads, digest, done = Payloads(redis, ttl=settings.input_ttl), hashlib.sha256(), 0
    shape: Shape | None = None
    for start in range(0, len(order), _TOGETHER):
        together = [paths[index] for index in order[start : start + _TOGETHER]]
        for path, (pixels, its_shape) in zip(
            together, _decoded(archive, together, card, request.window, settings, budget), strict=True
        ):
            shape = shape or its_shape
            if request.noise_space == "image" and its_shape != shape:
                raise _other_shape(path, its_shape, shape)
            digest.update(pixels)
            if not payloads.put_image(job_id, done, pixels):
                return None
            done += 1
        if not records.images_progress(job_id, images_done=done, images_total=len(order)):
            return None
    return TuningImages(
        class_names=classes.class_names,
        training_labels=tuple(labels[index] for index in chosen.training),
        validation_labels=tuple(labels[index] for index in chosen.validation),
        images_sha256=digest.hexdigest(),
        image_map=None if shape is None or request.noise_space == "model_input" else _map_of(shape, request, card),
    )


def _map_of(shape: Shape, request: TuningRequest, card: BackboneCard) -> ImageMap:
    """Returns how the images become model inputs.

    Raises:
        Rejected: `image_too_large_for_noise`: no such image can be certified with this noise.
    """
    rows, columns, channels = shape
    found = image_map((rows, columns), channels, card.image_size, card.fit)
    if found.values > (most := most_values(max(request.params.sigmas))):
        raise Rejected(
            "image_too_large_for_noise",
            f"`noise_space=image` allows at most {most} values (pixels times channels) at these `sigmas`, and the "
            f"model sees {found.values} of each image",
        )
    return found


def _other_shape(path: str, found: Shape, expected: Shape) -> Rejected:
    sizes = " and ".join(" x ".join(map(str, shape)) for shape in (found, expected))
    return Rejected(
        "image_sizes_differ", f"`{shown(path)}`: with `noise_space=image` all images must have one shape, got {sizes}"
    )


def _check_room(job_id: str, count: int, card: BackboneCard, settings: WorkerSettings, redis: Redis) -> None:
    """Checks before an image is decoded that there is room for all.

    Raises:
        Rejected: `archive_too_large`, the images would never fit.
        ShortageError: The job store has no room for them now: running certifications need it.
    """
    each, side, most = ModelInput.size_in_bytes(card.image_size), card.image_size, settings.max_tuning_bytes
    if count * each > most:
        raise Rejected(
            "archive_too_large",
            f"{count} chosen images of {side} x {side} take {count * each} bytes, more than the {most} allowed",
        )
    bound = read_memory(redis).bound
    if bound is not None and count * each > INPUT_SHARE * bound:
        raise Rejected(
            "archive_too_large",
            f"{count} chosen images take {count * each} bytes, more than the job store, of {bound} bytes, has for them",
        )
    require_room(redis, (count - redis.hlen(input_key(job_id))) * each)  # an earlier attempt may have left some


def _listed(archive: bytes, settings: WorkerSettings) -> dict[str, list[str]]:
    limits = ArchiveLimits(files=settings.max_archive_files, unpacked_bytes=settings.max_unpacked_bytes)

    def listed() -> tuple[dict[str, Any], bytes]:
        return {}, _LISTING.dump_json(list_images(archive, limits))

    try:
        answer = run_limited(
            listed,
            memory_bytes=settings.intake_memory_bytes,
            cpu_seconds=min(cpu_allowance(len(archive)), settings.intake_cpu_seconds),
            max_payload=12 * PATH_MAX * limits.files,
            hidden=settings.data_dir,
        )
        return _LISTING.validate_json(answer.payload)
    except ValueError as error:
        raise Rejected("invalid_archive", "the zip cannot be listed") from error
    except Rejected as rejected:
        raise Rejected(_OF_A_LISTING.get(rejected.code, rejected.code), rejected.detail) from rejected


def _decoded(
    archive: bytes,
    paths: Sequence[str],
    card: BackboneCard,
    window: FileWindow,
    settings: WorkerSettings,
    budget: ArchiveBudget,
) -> list[tuple[bytes, Shape]]:
    """Returns the model inputs of some files, with the shapes of their images.

    Raises:
        Rejected: A file cannot be decoded, and the detail begins with its path; or the budget is spent.
    """
    size, cpu_seconds = ModelInput.size_in_bytes(card.image_size), budget.cpu_seconds()
    try:
        answer = run_limited(
            partial(_decode_files, archive, paths, card, window, settings.max_pixels, budget),
            memory_bytes=settings.intake_memory_bytes,
            cpu_seconds=cpu_seconds,
            max_payload=size * len(paths),
            hidden=settings.data_dir,
            first_cpu_seconds=cpu_allowance(len(archive)),
        )
        budget.spend_pixels(_COUNT.validate_python(answer.header.get("pixels")))
        parts = [answer.payload[start : start + size] for start in range(0, size * len(paths), size)]
        inputs = [ModelInput.from_bytes(part, card.image_size).tobytes() for part in parts]
        shapes = _SHAPES.validate_python(answer.header.get("shapes"))
        for rows, columns, _ in shapes:
            check_size(rows=rows, columns=columns, max_pixels=settings.max_pixels)
        return list(zip(inputs, shapes, strict=True))
    except (Rejected, ValueError) as error:
        if isinstance(error, Rejected) and error.code == "archive_too_large":
            raise
        if len(paths) > 1:  # a process that crashed or ran out of time does not say on which
            return [each for path in paths for each in _decoded(archive, [path], card, window, settings, budget)]
        if isinstance(error, Rejected):
            raise Rejected(error.code, f"`{shown(paths[0])}`: {error.detail}") from error
        raise Rejected("unreadable_image", f"`{shown(paths[0])}`: the decoder crashed on this file") from error


def _decode_files(
    archive: bytes, paths: Sequence[str], card: BackboneCard, window: FileWindow, max_pixels: int, budget: ArchiveBudget
) -> tuple[dict[str, Any], bytes]:
    """Returns the number of pixels and the model inputs, one after the other; runs in the sandbox.

    It counts in its own copy of the budget; that of the caller counts the answer.
    """
    before, unpacked, inputs, shapes = budget.pixels, 0, [], []

    def on_size(pixels: int) -> None:
        budget.spend_pixels(pixels)
        allow_cpu_seconds(cpu_allowance(len(archive) + unpacked, budget.pixels - before))

    for content in read_images(archive, paths):
        unpacked += len(content)
        header, pixels = decode_bytes(content, card, max_pixels=max_pixels, window=window, on_size=on_size)
        inputs.append(pixels)
        shapes.append([header["facts"][name] for name in ("rows", "columns", "channels")])
    return {"pixels": budget.pixels - before, "shapes": shapes}, b"".join(inputs)
