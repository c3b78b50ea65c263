"""Error codes of models, data sets and the service."""

from typing import Final

from certrad.models.problems.problem import Problem

SERVICE_PROBLEMS: Final[dict[str, Problem]] = {
    # -- the model -------------------------------------------------------------------------------------------------
    "backbone_unavailable": Problem(
        title="The weights of the backbone are not on this installation",
        raised_if="the backbone has a card but no weights were fetched, or no running engine has them",
    ),
    "invalid_weights": Problem(
        title="The backbone weights do not load",
        raised_if="the file misses keys, has foreign keys or other shapes than the card's architecture",
    ),
    "dtype_unavailable": Problem(
        title="This machine cannot compute in the precision",
        raised_if="a precision of the image encoder needs a package or a processor that is not here, or the encoder is "
        "one that the package does not take",
    ),
    "model_unavailable": Problem(
        title="A model that is evaluated is not on this installation",
        raised_if="the directory given for a denoiser, diffusion or super-resolution model lacks a file of it",
    ),
    "digest_mismatch": Problem(
        title="A file is not the one its card names",
        raised_if="the SHA-256 of weights, a prompt checkpoint or an adapter differs from the pinned one, or a "
        "decoded image or a certificate changed in the store",
    ),
    "invalid_checkpoint": Problem(
        title="The prompt checkpoint is malformed",
        raised_if="it is not safetensors with a card, or no context vectors of the right shape are in it, or something "
        "else that was learned is in it too",
    ),
    "invalid_adapter": Problem(
        title="The adapter is malformed",
        raised_if="it is not safetensors with a card, holds values that are not finite or entries that are not known, "
        "or contradicts its card",
    ),
    "prompt_too_long": Problem(
        title="A prompt exceeds the context length",
        raised_if="context vectors, class name and template together have more tokens than the text tower takes",
    ),
    "indistinct_classes": Problem(
        title="Two classes are one text to the model",
        raised_if="the text features of two classes are equal, so that nothing tells them apart",
    ),
    # -- data sets -------------------------------------------------------------------------------------------------
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
    # -- the service -----------------------------------------------------------------------------------------------
    "access_unavailable": Problem(
        title="The file of the API keys cannot be read",
        raised_if="the disk refuses `access/keys.json` of the data directory, or no version reads it: nobody is let in",
    ),
    "too_many_connections": Problem(
        title="Too many requests at once",
        raised_if="`CERTRAD_MAX_CONNECTIONS` requests are being answered",
    ),
    "queue_full": Problem(
        title="The queue is full",
        raised_if="`CERTRAD_MAX_QUEUED` jobs are queued or running",
    ),
    "urgent_quota_exceeded": Problem(
        title="The tenant has too many urgent jobs",
        raised_if="`CERTRAD_MAX_URGENT` urgent jobs of the tenant are queued or running",
    ),
    "deadline_unattainable": Problem(
        title="The deadline cannot be met",
        raised_if="the estimate of wait and run is longer than `deadline`; `detail` gives both",
    ),
    "deadline_exceeded": Problem(
        title="The deadline has passed",
        raised_if="the time that `deadline` gave the job is over, and the job had no result yet",
    ),
    "job_store_full": Problem(
        title="The job store is nearly full",
        raised_if="Redis uses more than 80 % of its memory, so that no new job is accepted",
    ),
    "redis_unavailable": Problem(
        title="The job store cannot be reached",
        raised_if="Redis is down or full",
    ),
    "selftest_failed": Problem(
        title="No worker of a queue passed its self-test",
        raised_if="GET /health/workers finds a queue without a worker, and the self-test of one failed within the last "
        "hour: it takes no work",
    ),
    "selftest_not_found": Problem(
        title="There is no such self-test",
        raised_if="no self-test has this id, or it was ordered more than a day ago",
    ),
    "no_worker": Problem(
        title="A queue has no worker",
        raised_if="GET /health/workers finds a queue without a living worker",
    ),
    "storage_unavailable": Problem(
        title="The upload cannot be stored",
        raised_if="an upload would leave less than `CERTRAD_MIN_FREE_BYTES` of the disk free, the disk is read-only, "
        "or an upload is no longer on it",
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
        raised_if="an engine with other weights, software, epoch secret, device or processor picked up the job, and "
        "would mix counts; or it lacks the epoch secret under which the images of the prompt are recorded",
    ),
    "hospital_extra_missing": Problem(
        title="The service cannot write DICOM reports",
        raised_if="the extra `hospital` was not installed on the intake host when the job ended",
    ),
    "output_failed": Problem(
        title="The report was not made",
        raised_if="the header of the file breaks a rule of reports, or rendering exceeded its memory or time limit, "
        "or the disk refused the report; the certificate is there all the same",
    ),
    "internal_error": Problem(
        title="A defect of the service",
        raised_if="an unexpected error; its trace is in the log",
    ),
}
