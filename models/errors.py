"""All stable error codes of the project, each with its meaning."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The meaning of one error code.

    Attributes:
        title: Title of the problem.
        raised_if: When it is raised.
    """

    title: str
    raised_if: str


PROBLEMS: Final[dict[str, Problem]] = {
    # -- the request ------------------------------------------------------------------------------------------------
    "invalid_request": Problem(
        title="A field is missing, malformed or out of range",
        raised_if="a field fails its type or range, NaN and infinity included",
    ),
    "unknown_field": Problem(
        title="Unknown field",
        raised_if="the request has a field the call does not know",
    ),
    "unknown_task": Problem(
        title="Unknown task",
        raised_if="`task` is not one of GET /tasks",
    ),
    "unknown_backbone": Problem(
        title="Unknown backbone",
        raised_if="`backbone` is not one of GET /backbones",
    ),
    "unknown_prompt": Problem(
        title="Unknown prompt",
        raised_if="`prompt` is neither `template` nor one of GET /prompts, or it was withdrawn",
    ),
    "prompt_mismatch": Problem(
        title="The prompt does not fit the request",
        raised_if="the prompt checkpoint was tuned for another backbone or other classes than the request names",
    ),
    "idempotency_conflict": Problem(
        title="Idempotency-Key was used for a different request",
        raised_if="the same `Idempotency-Key` came with another body",
    ),
    "body_too_large": Problem(
        title="The body is over the limit",
        raised_if="the body exceeds `CERTRAD_MAX_BODY_BYTES`, or that of POST /prompts `CERTRAD_MAX_ARCHIVE_BYTES`",
    ),
    "host_not_allowed": Problem(
        title="The host name is not this service's",
        raised_if="the `Host` header names neither a loopback address nor one of `CERTRAD_ALLOWED_HOSTS`, nor, for "
        "`/health/*` and `/metrics`, any IP address",
    ),
    "foreign_origin": Problem(
        title="A page of another origin made the request",
        raised_if="a request that is not GET or HEAD carries an `Origin` other than the service's own, or a "
        "`Sec-Fetch-Site` of `cross-site` or `same-site`",
    ),
    "not_found": Problem(
        title="No such address",
        raised_if="the path is not part of the interface",
    ),
    "method_not_allowed": Problem(
        title="Method not allowed",
        raised_if="the path exists, but not with this method",
    ),
    "job_not_found": Problem(
        title="No such job",
        raised_if="the job is unknown, erased, or ended more than `CERTRAD_JOB_TTL` seconds ago",
    ),
    "certificate_not_found": Problem(
        title="No such certificate",
        raised_if="no certificate with this digest is stored",
    ),
    "not_a_certificate": Problem(
        title="Not a certificate",
        raised_if="a body to be verified is not JSON of schema `certrad.certificate/2`, or is over 8 MiB",
    ),
    "invalid_certificate": Problem(
        title="The certificate was not signed",
        raised_if="the engine's result does not verify, or belongs to another image or request",
    ),
    "prompt_not_found": Problem(
        title="No such prompt",
        raised_if="the prompt id is unknown",
    ),
    "job_not_finished": Problem(
        title="The job has no certificate yet",
        raised_if="the certificate of a job is asked for before it ended",
    ),
    "job_has_no_certificate": Problem(
        title="The job ended without a certificate",
        raised_if="the job failed or was cancelled, or it tuned a prompt",
    ),
    "job_has_no_input": Problem(
        title="The job has no model input",
        raised_if="the image of the job is not decoded yet, the job ended before that, or it tunes a prompt",
    ),
    "output_expired": Problem(
        title="The output is not kept any more",
        raised_if="the job ended longer ago than its output is kept, or the output was deleted",
    ),
    # -- the image --------------------------------------------------------------------------------------------------
    "empty_image": Problem(
        title="The image is empty",
        raised_if="the upload has zero bytes",
    ),
    "unsupported_format": Problem(
        title="Not a PNG, JPEG, TIFF or DICOM file",
        raised_if="the first bytes are of no supported format; declared types and file names are ignored",
    ),
    "unreadable_image": Problem(
        title="The image cannot be decoded",
        raised_if="the file is truncated or corrupt",
    ),
    "image_too_large": Problem(
        title="The image has too many pixels",
        raised_if="the declared or decoded size exceeds `CERTRAD_MAX_PIXELS`, or decoding exceeded its memory or "
        "time limit",
    ),
    "image_too_small": Problem(
        title="The image has too few pixels",
        raised_if="a side of the image or region is below 8 pixels, or below one pixel of the input of a backbone "
        "that pads",
    ),
    "animated_image": Problem(
        title="More than one image in the file",
        raised_if="a PNG, JPEG or TIFF holds several images",
    ),
    "unsupported_pixels": Problem(
        title="A kind of pixel that is not converted",
        raised_if="the pixel format (CMYK, float, 32 bit, a non-linear or malformed lookup table, a rescale slope or "
        "intercept without the other) has no safe conversion, or the pixels are not square",
    ),
    "dicom_without_pixels": Problem(
        title="The DICOM object has no pixels",
        raised_if="the object has no pixel data element",
    ),
    "dicom_not_an_image": Problem(
        title="The DICOM object is not an image to classify",
        raised_if="the object is a segmentation, dose, presentation state, report or document",
    ),
    "dicom_unsupported": Problem(
        title="The DICOM encoding is not accepted",
        raised_if="the file has no transfer syntax, a deflated or referenced one, or one without a decoder; or it is "
        "12-bit JPEG, or has more than 65,536 elements before its pixels",
    ),
    "frame_required": Problem(
        title="`frame` is required",
        raised_if="the image has more than one frame and `frame` is absent",
    ),
    "frame_out_of_range": Problem(
        title="No such frame",
        raised_if="`frame` is below 1 or above the number of frames",
    ),
    "region_out_of_range": Problem(
        title="The region is outside the image",
        raised_if="`region` is not inside the image",
    ),
    # -- the images of a tuning -------------------------------------------------------------------------------------
    "invalid_archive": Problem(
        title="Not a zip with one folder of images for each class",
        raised_if="`images` is no zip, damaged, encrypted or compressed by another method than deflate, or its "
        "files do not lie in one folder for each class",
    ),
    "unsafe_archive": Problem(
        title="An entry of the archive is no plain file in a folder",
        raised_if="an entry has an absolute path, `..`, a backslash or a control character, or is a link or a device",
    ),
    "archive_too_large": Problem(
        title="The archive unpacks to too much",
        raised_if="the archive holds more files than `CERTRAD_MAX_ARCHIVE_FILES`, more bytes than "
        "`CERTRAD_MAX_UNPACKED_BYTES`, an entry that unpacks to over 1 MiB and to more than 250 times its size, or "
        "more chosen images than fit `CERTRAD_MAX_TUNING_BYTES`",
    ),
    "duplicate_file": Problem(
        title="Two files of the archive have one name",
        raised_if="two paths are equal, or differ in case or in the form of their accents only",
    ),
    "empty_class": Problem(
        title="A class has no image",
        raised_if="a folder of the archive holds no file",
    ),
    "too_few_classes": Problem(
        title="At least two classes are needed",
        raised_if="the archive has fewer than two folders",
    ),
    "class_mismatch": Problem(
        title="The folders are not the classes",
        raised_if="there are more or fewer folders than classes in `task` or `classes`, or a folder bears the name "
        "of another class than the one at its place",
    ),
    "too_few_images": Problem(
        title="A class has fewer images than asked for",
        raised_if="a class has no image, or fewer than `shots`",
    ),
    # -- the model --------------------------------------------------------------------------------------------------
    "backbone_unavailable": Problem(
        title="The weights of the backbone are not on this installation",
        raised_if="the backbone has a card but no weights were fetched, or no running engine has them",
    ),
    "invalid_weights": Problem(
        title="The backbone weights do not load",
        raised_if="the file misses keys, has foreign keys or other shapes than the card's architecture",
    ),
    "model_unavailable": Problem(
        title="A model that is evaluated is not on this installation",
        raised_if="the directory given for a denoiser, diffusion or super-resolution model lacks a file of it",
    ),
    "digest_mismatch": Problem(
        title="A file is not the one its card names",
        raised_if="the SHA-256 of weights or of a prompt checkpoint differs from the pinned one, or a decoded image "
        "or a certificate changed in the store",
    ),
    "invalid_checkpoint": Problem(
        title="The prompt checkpoint is malformed",
        raised_if="it is not safetensors with a card, or no context vectors of the right shape are in it, or something "
        "else that was learned is in it too",
    ),
    "prompt_too_long": Problem(
        title="A prompt exceeds the context length",
        raised_if="context vectors, class name and template together have more tokens than the text tower takes",
    ),
    "indistinct_classes": Problem(
        title="Two classes are one text to the model",
        raised_if="the text features of two classes are equal, so that nothing tells them apart",
    ),
    # -- data sets --------------------------------------------------------------------------------------------------
    "dataset_unavailable": Problem(
        title="A part of the data set is not there",
        raised_if="a file or folder of a data set is not where its publisher puts it, or it is published without "
        "that split",
    ),
    "invalid_dataset": Problem(
        title="The data set contradicts itself",
        raised_if="a file of a data set is not in the published form, names an unknown class, or gives one image "
        "two labels",
    ),
    # -- the service ------------------------------------------------------------------------------------------------
    "queue_full": Problem(
        title="The queue is full",
        raised_if="`CERTRAD_MAX_QUEUED` jobs are queued or running",
    ),
    "redis_unavailable": Problem(
        title="The job store cannot be reached",
        raised_if="Redis is down or full",
    ),
    "no_worker": Problem(
        title="A queue has no worker",
        raised_if="GET /health/workers finds a queue without a living worker",
    ),
    "storage_unavailable": Problem(
        title="The upload cannot be stored",
        raised_if="the disk is full or read-only, or an upload is no longer on it",
    ),
    "job_timeout": Problem(
        title="The job took too long",
        raised_if="one stage of the job ran longer than `CERTRAD_JOB_TIMEOUT`",
    ),
    "job_unreadable": Problem(
        title="The record of the job cannot be read",
        raised_if="the record in Redis is not one that this version writes, as after a change of versions",
    ),
    "worker_lost": Problem(
        title="The job lost its workers",
        raised_if="the processes running the job died more often than it is retried, or the decoded image or the "
        "certificate waited longer than it is kept",
    ),
    "engine_mismatch": Problem(
        title="The job was begun by another kind of engine",
        raised_if="an engine with other weights, software, epoch secret or device picked up the job; it would mix "
        "counts",
    ),
    "internal_error": Problem(
        title="A defect of the service",
        raised_if="an unexpected error; its trace is in the log",
    ),
}


class Rejected(Exception):
    """An expected refusal with a stable code.

    Attributes:
        code: One of `PROBLEMS`.
        detail: A sentence: what was wrong, what was expected, what came; never patient data.
    """

    def __init__(self, code: str, detail: str) -> None:
        if code not in PROBLEMS:
            raise KeyError(f"code must be one of PROBLEMS, got {code!r}")
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
