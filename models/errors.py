"""Every stable error code of the project, with what it means and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What one error code means: HTTP status, title, when it is raised and the remedy."""

    status: int
    title: str
    raised_if: str
    what_to_do: str


PROBLEMS: dict[str, Problem] = {
    # -- the request ------------------------------------------------------------------------------------------------
    "invalid_request": Problem(
        422,
        "A field is missing, malformed or out of range",
        "a field fails its type or range, NaN and infinity included",
        "correct the field named in `errors`",
    ),
    "unknown_field": Problem(
        422, "Unknown field", "the request has a field the call does not know", "remove or rename the field"
    ),
    "unknown_task": Problem(422, "Unknown task", "`task` is not one of GET /tasks", "use an id of GET /tasks"),
    "unknown_backbone": Problem(
        422, "Unknown backbone", "`backbone` is not one of GET /backbones", "use an id of GET /backbones"
    ),
    "unknown_prompt": Problem(
        422,
        "Unknown prompt",
        "`prompt` is neither `template` nor one of GET /prompts, or it was withdrawn",
        "use `template` or an id of GET /prompts",
    ),
    "prompt_mismatch": Problem(
        422,
        "The prompt does not fit the request",
        "the prompt checkpoint was tuned for another backbone or other classes than the request names",
        "leave `backbone` and `task` out: a prompt carries both",
    ),
    "idempotency_conflict": Problem(
        422,
        "Idempotency-Key was used for a different request",
        "the same `Idempotency-Key` came with another body",
        "use a new key for a new request",
    ),
    "body_too_large": Problem(
        413,
        "The body is over the limit",
        "the body exceeds `CERTRAD_MAX_BODY_BYTES`, or that of POST /prompts `CERTRAD_MAX_ARCHIVE_BYTES`",
        "send a smaller image, or fewer images",
    ),
    "host_not_allowed": Problem(
        421,
        "The host name is not this service's",
        "the `Host` header names neither a loopback address nor one of `CERTRAD_ALLOWED_HOSTS`",
        "use an allowed name, or add this one to `CERTRAD_ALLOWED_HOSTS`",
    ),
    "not_found": Problem(404, "No such address", "the path is not part of the interface", "see /openapi.json"),
    "method_not_allowed": Problem(
        405, "Method not allowed", "the path exists, but not with this method", "see the `Allow` header"
    ),
    "job_not_found": Problem(
        404, "No such job", "the job id is unknown, erased or older than its time to live", "submit the image again"
    ),
    "certificate_not_found": Problem(
        404, "No such certificate", "no certificate has this digest, or it was erased", "check the digest"
    ),
    "not_a_certificate": Problem(
        422,
        "Not a certificate",
        "a body to be verified is not JSON of schema `certrad.certificate/2`, or is over 8 MiB",
        "send the document byte for byte as GET /jobs/{id}/certificate answered it",
    ),
    "invalid_certificate": Problem(
        500,
        "The certificate was not signed",
        "what an engine left does not verify, or is not about the image and the request of its job",
        "submit the image again; if it happens again, look for a damaged or foreign engine in the log",
    ),
    "prompt_not_found": Problem(404, "No such prompt", "the prompt id is unknown", "use an id of GET /prompts"),
    "job_not_finished": Problem(
        409,
        "The job has no certificate yet",
        "the certificate of a job is asked for before it ended",
        "poll the job until `succeeded`",
    ),
    "job_has_no_certificate": Problem(
        409,
        "The job ended without a certificate",
        "the job failed or was cancelled, or it tuned a prompt",
        "read `error` or `result` of the job",
    ),
    "job_has_no_input": Problem(
        409,
        "The job has no model input",
        "the image of the job is not decoded yet, the job ended before that, or it tunes a prompt",
        "poll the job until its phase is `waiting` or later",
    ),
    "output_expired": Problem(
        410,
        "The output is not kept any more",
        "the job ended more than `CERTRAD_OUTPUT_TTL` seconds ago, or its output was deleted",
        "submit the image again",
    ),
    # -- the image --------------------------------------------------------------------------------------------------
    "empty_image": Problem(422, "The image is empty", "the upload has zero bytes", "send the image itself"),
    "unsupported_format": Problem(
        415,
        "Not a PNG, JPEG, TIFF or DICOM file",
        "the first bytes are of no supported format; declared types and file names are ignored",
        "convert the image to one of the four",
    ),
    "unreadable_image": Problem(
        422, "The image cannot be decoded", "the file is truncated or corrupt", "send an intact file"
    ),
    "image_too_large": Problem(
        422,
        "The image has too many pixels",
        "the declared or decoded size exceeds `CERTRAD_MAX_PIXELS`, or decoding exceeded its memory or time limit",
        "crop or reduce the image before it is sent",
    ),
    "image_too_small": Problem(
        422,
        "The image has too few pixels",
        "a side of the image or region is below 8 pixels, or below one pixel of the input of a backbone that pads",
        "send a larger image",
    ),
    "animated_image": Problem(
        422,
        "More than one picture in the file",
        "a PNG, JPEG or TIFF holds several pictures",
        "send one picture",
    ),
    "unsupported_pixels": Problem(
        422,
        "A kind of pixel that is not converted",
        "the pixel format (CMYK, float, 32 bit, a non-linear or malformed lookup table) has no safe conversion",
        "convert to 8- or 16-bit grey or RGB",
    ),
    "dicom_without_pixels": Problem(
        422, "The DICOM object has no pixels", "no pixel data element", "send an image object"
    ),
    "dicom_not_an_image": Problem(
        422,
        "The DICOM object is not an image to classify",
        "the object is a segmentation, dose, presentation state, report or document",
        "send the image it was made from",
    ),
    "dicom_unsupported": Problem(
        422,
        "The DICOM encoding is not accepted",
        "no transfer syntax, a deflated or referenced one, or no decoder for it",
        "send it uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000",
    ),
    "frame_required": Problem(
        422, "`frame` is required", "the image has more than one frame and `frame` is absent", "name the frame, from 1"
    ),
    "frame_out_of_range": Problem(
        422, "No such frame", "`frame` is below 1 or above the number of frames", "name an existing frame"
    ),
    "region_out_of_range": Problem(
        422, "The region is outside the image", "`region` is not inside the image", "name a region inside the image"
    ),
    # -- the images of a tuning -------------------------------------------------------------------------------------
    "invalid_archive": Problem(
        422,
        "Not a zip with one folder of images for each class",
        "`images` is no zip, damaged, encrypted or compressed by another method than deflate, or its files do not lie "
        "in one folder for each class",
        "zip the folders of the classes, and nothing else, without a password",
    ),
    "unsafe_archive": Problem(
        422,
        "An entry of the archive is no plain file in a folder",
        "an absolute path, `..`, a backslash, a control character, a symbolic link or a device",
        "zip plain files and folders with plain names",
    ),
    "archive_too_large": Problem(
        422,
        "The archive unpacks to too much",
        "more files than `CERTRAD_MAX_ARCHIVE_FILES`, more bytes than `CERTRAD_MAX_UNPACKED_BYTES`, an entry that "
        "unpacks to over 1 MiB and to more than 250 times its size, or more chosen images than fit "
        "`CERTRAD_MAX_TUNING_BYTES`",
        "send fewer or smaller images, or lower `shots`",
    ),
    "duplicate_file": Problem(
        422,
        "Two files of the archive have one name",
        "two paths are equal, or differ in case or in the form of their accents only",
        "give every file of a folder a name of its own",
    ),
    "empty_class": Problem(
        422, "A class has no image", "a folder of the archive holds no file", "fill the folder or leave it out"
    ),
    "too_few_classes": Problem(
        422, "At least two classes are needed", "the archive has fewer than two folders", "add a folder for each class"
    ),
    "class_mismatch": Problem(
        422,
        "The folders are not the classes",
        "there are more or fewer folders than classes in `task` or `classes`, or a folder bears the name of another "
        "class than the one at its place",
        "send one folder for each class, named like it or sorted as the classes are",
    ),
    "too_few_images": Problem(
        422,
        "A class has fewer images than asked for",
        "a class has no image, or fewer than `shots`",
        "lower `shots` or add images to the class that `detail` names",
    ),
    # -- the model --------------------------------------------------------------------------------------------------
    "backbone_unavailable": Problem(
        503,
        "The weights of the backbone are not on this installation",
        "the backbone has a card but no weights were fetched",
        "`certrad fetch NAME` on the worker",
    ),
    "invalid_weights": Problem(
        500,
        "The backbone weights do not load",
        "the file misses keys, has foreign keys or other shapes than the card's architecture",
        "fetch the weights again",
    ),
    "model_unavailable": Problem(
        503,
        "A model that is evaluated is not on this installation",
        "the directory given for a denoiser, diffusion or super-resolution model lacks a file of it",
        "put the file named there, in the published layout",
    ),
    "digest_mismatch": Problem(
        500,
        "A file is not the one its card names",
        "the SHA-256 of weights or of a prompt checkpoint differs from the pinned one, or a decoded image or a "
        "certificate changed in the store",
        "restore the file; do not change the card",
    ),
    "invalid_checkpoint": Problem(
        422,
        "The prompt checkpoint is malformed",
        "it is not safetensors with a card, or no context vectors of the right shape are in it",
        "import the checkpoint again",
    ),
    "prompt_too_long": Problem(
        422,
        "A prompt exceeds the context length",
        "context vectors, class name and template together have more tokens than the text tower takes",
        "shorten the class name or template, or use fewer context vectors",
    ),
    # -- data sets --------------------------------------------------------------------------------------------------
    "dataset_unavailable": Problem(
        422,
        "A part of the data set is not there",
        "a file or folder of a data set is not where its publisher puts it, or it is published without that split",
        "fetch it from the source that its card names, and unpack it where the message says",
    ),
    "invalid_dataset": Problem(
        422,
        "The data set contradicts itself",
        "a file of a data set is not in the published form, names an unknown class, or gives one image two labels",
        "restore the published file",
    ),
    # -- the service ------------------------------------------------------------------------------------------------
    "queue_full": Problem(
        503, "The queue is full", "`CERTRAD_MAX_QUEUED` jobs are waiting", "retry after `Retry-After` seconds"
    ),
    "redis_unavailable": Problem(
        503, "The job store cannot be reached", "Redis is down or full", "retry after `Retry-After` seconds"
    ),
    "no_worker": Problem(
        503, "A queue has no worker", "GET /health/workers finds a queue without a living worker", "start a worker"
    ),
    "storage_unavailable": Problem(
        503,
        "The upload cannot be stored",
        "the disk is full or read-only, or an upload is no longer on it",
        "retry later; tell the operator",
    ),
    "job_timeout": Problem(
        500, "The job took too long", "the job ran longer than `CERTRAD_JOB_TIMEOUT`", "lower `n` or use a GPU worker"
    ),
    "job_unreadable": Problem(
        500,
        "The record of the job cannot be read",
        "the record in Redis is not one that this version writes, as after a change of versions",
        "submit the image again; the record goes when its time to live is over",
    ),
    "worker_lost": Problem(
        500,
        "The job lost its workers",
        "the processes running the job died more often than it is retried, or the decoded image or the certificate "
        "waited longer than it is kept",
        "submit again; tell the operator",
    ),
    "engine_mismatch": Problem(
        500,
        "The job was begun by another kind of engine",
        "an engine with other weights, software, epoch secret or device was to go on with a job: counts would mix",
        "submit again; run one kind of engine per installation",
    ),
    "internal_error": Problem(
        500, "A defect of the service", "an unexpected error; its trace is in the log", "report it with the job id"
    ),
}


class Rejected(Exception):
    """An expected refusal with a stable code; the detail says what was expected and what came, never patient data."""

    def __init__(self, code: str, detail: str) -> None:
        if code not in PROBLEMS:
            raise KeyError(f"code must be one of PROBLEMS, got {code!r}")
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
