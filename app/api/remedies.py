"""The HTTP status of each error code of `certrad.models.errors.PROBLEMS`, and what a client can do about it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """The HTTP status of an error code, and what its receiver can do about it."""

    status: int
    what_to_do: str


REMEDIES: Final[dict[str, Remedy]] = {
    # -- the request ------------------------------------------------------------------------------------------------
    "invalid_request": Remedy(status=422, what_to_do="correct the field named in `errors`"),
    "unknown_field": Remedy(status=422, what_to_do="remove or rename the field"),
    "unknown_task": Remedy(status=422, what_to_do="use an id of GET /tasks"),
    "unknown_backbone": Remedy(status=422, what_to_do="use an id of GET /backbones"),
    "unknown_prompt": Remedy(status=422, what_to_do="use `template` or an id of GET /prompts"),
    "prompt_mismatch": Remedy(
        status=422, what_to_do="leave `backbone`, `adapter` and `task` out: a prompt carries them"
    ),
    "sigma_not_tuned": Remedy(
        status=422, what_to_do="choose a sigma between those of the bank's card, or a bank without an extra class"
    ),
    "adapter_mismatch": Remedy(status=422, what_to_do="leave `backbone` out, or choose an adapter of that backbone"),
    "image_was_tuned_on": Remedy(
        status=422,
        what_to_do="certify it under a prompt that was not tuned on it, such as `template`, and without the adapter",
    ),
    "calibration_not_found": Remedy(status=422, what_to_do="use an id of GET /calibrations"),
    "calibration_mismatch": Remedy(
        status=422, what_to_do="send what GET /calibrations says of it, or leave these fields and `prediction_set` out"
    ),
    "image_was_calibrated_on": Remedy(status=422, what_to_do="leave `prediction_set` out for this image"),
    "unknown_window": Remedy(
        status=422, what_to_do="use a preset of GET /tasks, or `file`, `CENTRE,WIDTH`, `percentile`"
    ),
    "callback_not_allowed": Remedy(
        status=422,
        what_to_do="poll the job instead, or have the operator add the host to `CERTRAD_CALLBACK_HOSTS`",
    ),
    "idempotency_conflict": Remedy(status=422, what_to_do="use a new key for a new request"),
    "body_too_large": Remedy(status=413, what_to_do="send a smaller image, or fewer images"),
    "request_timeout": Remedy(status=408, what_to_do="send the request again, without a pause"),
    "host_not_allowed": Remedy(
        status=421, what_to_do="use an allowed name, or add this one to `CERTRAD_ALLOWED_HOSTS`"
    ),
    "foreign_origin": Remedy(
        status=403, what_to_do="send it with a program that is not a browser, such as curl or `certrad`"
    ),
    "unauthenticated": Remedy(
        status=401,
        what_to_do="send `Authorization: Bearer KEY`; `certrad access add` on the service's machine makes one",
    ),
    "scope_missing": Remedy(status=403, what_to_do="use a key with the scope that `detail` names"),
    "rate_limited": Remedy(status=429, what_to_do="retry after `Retry-After` seconds"),
    "tenant_quota_exceeded": Remedy(
        status=429, what_to_do="retry after `Retry-After` seconds, when jobs of this tenant have ended"
    ),
    "triggers_disabled": Remedy(status=403, what_to_do="set `CERTRAD_TRIGGER_SECRET` and start the API again"),
    "wrong_trigger_secret": Remedy(status=403, what_to_do="send the secret that the API was started with"),
    "trigger_not_found": Remedy(status=404, what_to_do="ask for the study again"),
    "invalid_multipart": Remedy(status=400, what_to_do="send one DICOM file in each part, and the last boundary"),
    "unsupported_media_type": Remedy(
        status=415, what_to_do='send `Content-Type: multipart/related; type="application/dicom"; boundary=...`'
    ),
    "invalid_rules": Remedy(status=422, what_to_do="correct what `detail` names"),
    "not_found": Remedy(status=404, what_to_do="see /openapi.json"),
    "method_not_allowed": Remedy(status=405, what_to_do="see the `Allow` header"),
    "job_not_found": Remedy(status=404, what_to_do="submit the image again"),
    "certificate_not_found": Remedy(status=404, what_to_do="check the digest"),
    "envelope_not_found": Remedy(
        status=404, what_to_do="submit the image again: the same document gets its envelopes, unless the key is another"
    ),
    "time_stamp_not_found": Remedy(
        status=404, what_to_do="ask again in some minutes if the operator has set `CERTRAD_TSA_URL`"
    ),
    "not_a_certificate": Remedy(
        status=422, what_to_do="send the document or envelope as GET /jobs/{id}/certificate answered it"
    ),
    "invalid_certificate": Remedy(
        status=500,
        what_to_do="submit the image again; if it happens again, look for a damaged or foreign engine in the log",
    ),
    "prompt_not_found": Remedy(status=404, what_to_do="use an id of GET /prompts"),
    "adapter_not_found": Remedy(status=404, what_to_do="use the id of an adapter that is installed"),
    "job_not_finished": Remedy(status=409, what_to_do="poll the job until `succeeded`"),
    "job_has_no_certificate": Remedy(status=409, what_to_do="read `error` or `result` of the job"),
    "job_has_no_input": Remedy(status=409, what_to_do="poll the job until its phase is `waiting` or later"),
    "job_has_no_example": Remedy(status=409, what_to_do="show the radius without an example"),
    "job_has_no_curve": Remedy(status=409, what_to_do="show the certificate without a curve"),
    "job_has_no_renderings": Remedy(status=409, what_to_do="show the rows of `variants` without images"),
    "not_acceptable": Remedy(status=406, what_to_do="accept a media type that the interface names, or `*/*`"),
    "no_structured_report": Remedy(
        status=409, what_to_do="send the image as a DICOM file with its study, series and instance identifiers"
    ),
    "output_expired": Remedy(
        status=410, what_to_do="submit the image again; `CERTRAD_OUTPUT_TTL` says how long outputs are kept"
    ),
    # -- the image --------------------------------------------------------------------------------------------------
    "empty_image": Remedy(status=422, what_to_do="send the image itself"),
    "unsupported_format": Remedy(status=415, what_to_do="convert the image to PNG, JPEG, TIFF or DICOM"),
    "unreadable_image": Remedy(status=422, what_to_do="send an intact file"),
    "image_too_large": Remedy(status=422, what_to_do="crop or reduce the image before it is sent"),
    "image_too_large_for_noise": Remedy(
        status=422, what_to_do="send a smaller `region`, reduce the image, or leave `noise_space` out"
    ),
    "image_sizes_differ": Remedy(status=422, what_to_do="bring all images to one size, or leave `noise_space` out"),
    "image_too_small": Remedy(status=422, what_to_do="send a larger image"),
    "animated_image": Remedy(status=422, what_to_do="send a single image"),
    "unsupported_pixels": Remedy(status=422, what_to_do="convert to 8- or 16-bit grey or RGB with square pixels"),
    "dicom_without_pixels": Remedy(status=422, what_to_do="send an image object"),
    "dicom_not_an_image": Remedy(status=422, what_to_do="send the image it was made from"),
    "dicom_unsupported": Remedy(status=422, what_to_do="send it uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000"),
    "frame_required": Remedy(status=422, what_to_do="name the frame, from 1"),
    "frame_out_of_range": Remedy(status=422, what_to_do="name an existing frame"),
    "variant_unavailable": Remedy(status=422, what_to_do="leave the variants out that this file cannot have"),
    "parameters_unavailable": Remedy(
        status=422, what_to_do="send `window`, a grey image or a smaller `region`, or leave `parameter_sigma` out"
    ),
    "too_many_variants": Remedy(status=422, what_to_do="ask for fewer, or have the operator raise the limit"),
    "region_out_of_range": Remedy(status=422, what_to_do="name a region inside the image"),
    # -- the images of a tuning -------------------------------------------------------------------------------------
    "invalid_archive": Remedy(
        status=422, what_to_do="zip the folders of the classes, and nothing else, without a password"
    ),
    "unsafe_archive": Remedy(status=422, what_to_do="zip plain files and folders with plain names"),
    "archive_too_large": Remedy(status=422, what_to_do="send fewer or smaller images, or lower `shots`"),
    "duplicate_file": Remedy(status=422, what_to_do="give every file of a folder a name of its own"),
    "empty_class": Remedy(status=422, what_to_do="fill the folder or leave it out"),
    "too_few_classes": Remedy(status=422, what_to_do="add a folder for each class"),
    "class_mismatch": Remedy(
        status=422, what_to_do="send one folder for each class, named like it or sorted as the classes are"
    ),
    "too_few_images": Remedy(status=422, what_to_do="lower `shots` or add images to the class that `detail` names"),
    # -- the model --------------------------------------------------------------------------------------------------
    "backbone_unavailable": Remedy(
        status=503,
        what_to_do="run `certrad fetch NAME` on the engine's machine, and send the request again a minute later",
    ),
    "invalid_weights": Remedy(status=500, what_to_do="fetch the weights again"),
    "dtype_unavailable": Remedy(
        status=503,
        what_to_do="install the extra that `detail` names on the engine's machine, or choose another `CERTRAD_DTYPE`",
    ),
    "model_unavailable": Remedy(status=503, what_to_do="put the file named there, in the published layout"),
    "digest_mismatch": Remedy(status=500, what_to_do="restore the file; do not change the card"),
    "invalid_checkpoint": Remedy(status=422, what_to_do="import the checkpoint again"),
    "invalid_adapter": Remedy(status=422, what_to_do="train the adapter again, or copy its two files again"),
    "prompt_too_long": Remedy(
        status=422, what_to_do="shorten the class name or template, or use fewer context vectors"
    ),
    "indistinct_classes": Remedy(status=422, what_to_do="give the classes that `detail` names other names"),
    # -- data sets --------------------------------------------------------------------------------------------------
    "dataset_unavailable": Remedy(
        status=422, what_to_do="fetch it from the source that its card names, and unpack it where the message says"
    ),
    "invalid_dataset": Remedy(status=422, what_to_do="restore the published file"),
    # -- the service ------------------------------------------------------------------------------------------------
    "access_unavailable": Remedy(status=503, what_to_do="tell the operator"),
    "too_many_connections": Remedy(status=503, what_to_do="retry after `Retry-After` seconds"),
    "queue_full": Remedy(status=503, what_to_do="retry after `Retry-After` seconds"),
    "urgent_quota_exceeded": Remedy(
        status=429, what_to_do="send it with `priority=normal`, or retry after `Retry-After` seconds"
    ),
    "deadline_unattainable": Remedy(
        status=503, what_to_do="allow more time, lower `n`, or retry after `Retry-After` seconds"
    ),
    "deadline_exceeded": Remedy(status=500, what_to_do="submit the image again with a longer deadline or without one"),
    "job_store_full": Remedy(status=503, what_to_do="retry after `Retry-After` seconds; tell the operator"),
    "redis_unavailable": Remedy(status=503, what_to_do="retry after `Retry-After` seconds"),
    "selftest_failed": Remedy(
        status=503,
        what_to_do="run `certrad selftest` on the machine that `failed_selftests` names; see docs/selftest.md",
    ),
    "selftest_not_found": Remedy(status=404, what_to_do="order a new one with POST /selftest"),
    "no_worker": Remedy(status=503, what_to_do="start a worker"),
    "storage_unavailable": Remedy(status=503, what_to_do="retry later; tell the operator"),
    "job_timeout": Remedy(status=500, what_to_do="lower `n` or use a GPU worker"),
    "job_unreadable": Remedy(
        status=500, what_to_do="submit the image again; the record goes when its time to live is over"
    ),
    "worker_lost": Remedy(status=500, what_to_do="submit again; tell the operator"),
    "engine_mismatch": Remedy(
        status=500, what_to_do="submit again; run one kind of engine per installation, with the same `secrets`"
    ),
    "hospital_extra_missing": Remedy(
        status=501, what_to_do="install certrad[hospital] on the intake host, and submit the image again"
    ),
    "output_failed": Remedy(
        status=500, what_to_do="use the certificate; check the header of the file with `dciodvfy`; tell the operator"
    ),
    "internal_error": Remedy(status=500, what_to_do="report it with the job id"),
}
