"""Error codes of a request."""

from typing import Final

from certrad.models.problems.problem import Problem

REQUEST_PROBLEMS: Final[dict[str, Problem]] = {
    # -- the request -----------------------------------------------------------------------------------------------
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
        raised_if="the prompt checkpoint was tuned for another backbone, other classes or another adapter than the "
        "request names",
    ),
    "sigma_not_tuned": Problem(
        title="The bank's extra class was not tuned for this sigma",
        raised_if="the bank has an extra class for images unlike those it was tuned on, and sigma is below or above "
        "those that its threshold was set at",
    ),
    "adapter_mismatch": Problem(
        title="The adapter does not fit the backbone",
        raised_if="the adapter was trained with another backbone or with other weights than the request names",
    ),
    "image_was_tuned_on": Problem(
        title="The prompt or the adapter was made from this model input",
        raised_if="the model input of the image is one of those that the prompt, the bank or the gate was tuned on, or "
        "the adapter trained on; another window or region of the same file is another model input",
    ),
    "calibration_not_found": Problem(
        title="Unknown calibration",
        raised_if="`prediction_set` is none of GET /calibrations, or the calibration was removed meanwhile",
    ),
    "calibration_mismatch": Problem(
        title="The calibration is of another classifier, other noise or another rendering",
        raised_if="backbone, adapter, prompt, classes, precision, sigma, noise law, noise space, window or region of "
        "the request are not those that the calibration was made with",
    ),
    "image_was_calibrated_on": Problem(
        title="The image is one of the calibration",
        raised_if="the model input of the image is one that the calibration was made from, so that a prediction set "
        "would promise nothing about it",
    ),
    "unknown_window": Problem(
        title="Unknown window",
        raised_if="`window` names no preset of the task, or one for other files than the image, or the image has "
        "colours or no range to show",
    ),
    "callback_not_allowed": Problem(
        title="Callbacks do not go there",
        raised_if="scheme, host and port of `callback` are no entry of `CERTRAD_CALLBACK_HOSTS`, or that is empty",
    ),
    "idempotency_conflict": Problem(
        title="Idempotency-Key was used for a different request",
        raised_if="the same `Idempotency-Key` came with another body",
    ),
    "body_too_large": Problem(
        title="The body is over the limit",
        raised_if="the body exceeds `CERTRAD_MAX_BODY_BYTES`, that of POST /prompts `CERTRAD_MAX_ARCHIVE_BYTES`, "
        "that of POST /dicom-web/studies `CERTRAD_MAX_RECEIVED_BYTES`, or one that is neither an image nor a document "
        "1 MiB",
    ),
    "request_timeout": Problem(
        title="The request came too slowly",
        raised_if="its headers take longer than `CERTRAD_HEADER_TIMEOUT`, or its body brings fewer bytes than "
        "`CERTRAD_MIN_BODY_RATE` allows",
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
    "unauthenticated": Problem(
        title="The request brings no valid API key",
        raised_if="access is closed, and the request brings no key, one that is unknown, expired or revoked, or the "
        "cookie of a session that has ended; or access is open, and the request came through a proxy",
    ),
    "scope_missing": Problem(
        title="The API key does not allow this call",
        raised_if="the key has none of the scopes that the call needs, or the object belongs to everyone, or to a "
        "PACS of another tenant",
    ),
    "rate_limited": Problem(
        title="Too many requests",
        raised_if="the tenant has sent more requests in a minute than `CERTRAD_SUBMISSIONS_PER_MINUTE` or "
        "`CERTRAD_REQUESTS_PER_MINUTE` allows, or one address more without a valid key than "
        "`CERTRAD_REFUSALS_PER_MINUTE`",
    ),
    "tenant_quota_exceeded": Problem(
        title="The tenant has as many jobs as it may have",
        raised_if="`CERTRAD_MAX_QUEUED_OF_TENANT` jobs of the tenant are queued or running",
    ),
    "triggers_disabled": Problem(
        title="This installation takes no triggers and no pushed images",
        raised_if="`CERTRAD_TRIGGER_SECRET` is not set",
    ),
    "wrong_trigger_secret": Problem(
        title="The secret of the trigger is wrong",
        raised_if="neither `Certrad-Trigger-Secret` nor `Authorization: Bearer` brings `CERTRAD_TRIGGER_SECRET`",
    ),
    "trigger_not_found": Problem(
        title="No such trigger",
        raised_if="the trigger is unknown, nobody asked to follow it, or it was last changed more than a day ago",
    ),
    "invalid_multipart": Problem(
        title="The body is no list of DICOM instances",
        raised_if="a body of POST /dicom-web/studies is not divided as its header says, ends too early, holds nothing, "
        "or has more than 1,000 parts",
    ),
    "unsupported_media_type": Problem(
        title="Bodies of this media type are not taken",
        raised_if="a body of POST /dicom-web/studies is neither `multipart/related` with parts of "
        "`application/dicom`, nor `application/dicom`; metadata as XML or JSON is not taken",
    ),
    "invalid_rules": Problem(
        title="The rules are wrong",
        raised_if="the file of `CERTRAD_RULES`, or the text in `rules`, is not a file of rules",
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
    "envelope_not_found": Problem(
        title="The certificate has no envelopes",
        raised_if="a DSSE envelope or a JWS is asked for of a certificate that a release without envelopes issued",
    ),
    "time_stamp_not_found": Problem(
        title="The certificate has no time stamp",
        raised_if="the installation has no time-stamping authority, or the authority has not responded yet",
    ),
    "not_a_certificate": Problem(
        title="Not a certificate",
        raised_if="a body to be verified is neither a document of a schema `certrad.certificate/N`, nor a DSSE "
        "envelope or JWS around one; it is over 8 MiB (an envelope: 12 MiB); or its JSON has a number, a key twice, a "
        "key outside ASCII or a byte order mark, so that it could be read in two ways",
    ),
    "invalid_certificate": Problem(
        title="The certificate was not signed",
        raised_if="the engine's result does not verify, or belongs to another image or request",
    ),
    "prompt_not_found": Problem(
        title="No such prompt",
        raised_if="the prompt id is unknown",
    ),
    "adapter_not_found": Problem(
        title="No such adapter",
        raised_if="the adapter id is unknown",
    ),
    "job_not_finished": Problem(
        title="The job has no certificate yet",
        raised_if="the certificate of a job, or what is drawn beside it, is asked for before it ended",
    ),
    "job_has_no_certificate": Problem(
        title="The job ended without a certificate",
        raised_if="the job failed or was cancelled, or it tuned a prompt",
    ),
    "job_has_no_input": Problem(
        title="The job has no model input",
        raised_if="the image of the job is not decoded yet, the job ended before that, or it tunes a prompt",
    ),
    "job_has_no_example": Problem(
        title="The job has no example of its radius",
        raised_if="the job abstained, failed, was cancelled or tuned a prompt, or its engine left the example out, as "
        "with `noise_space=image`",
    ),
    "job_has_no_curve": Problem(
        title="The job has no curve of radius against samples",
        raised_if="the job failed, was cancelled or tuned a prompt, its selection samples chose no class, or with "
        "`sigma=auto`, where the radius rests on several runs of samples",
    ),
    "job_has_no_renderings": Problem(
        title="The job has no images of other renderings",
        raised_if="the request named no `variants`, none was sampled, the job failed or was cancelled, or its engine "
        "left the images out",
    ),
    "not_acceptable": Problem(
        title="No representation has an accepted media type",
        raised_if="the `Accept` header names only media types that this address does not have",
    ),
    "no_structured_report": Problem(
        title="The image has no DICOM header that a report can refer to",
        raised_if="a structured report or secondary capture of a job is asked for whose upload is no DICOM file, or "
        "lacks identifiers of the patient's study that a report must repeat",
    ),
    "output_expired": Problem(
        title="The output is not kept any more",
        raised_if="the job ended longer ago than its output is kept, or the output was deleted",
    ),
}
