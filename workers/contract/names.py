"""Every name that crosses Redis: queues, tasks, keys, statuses, phases and events."""

from typing import Final, Literal

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Phase = Literal[
    "queued",
    "decoding",
    "unpacking",
    "waiting",
    "loading",
    "adapting",
    "selecting",
    "estimating",
    "attacking",
    "tuning",
    "evaluating",
    "finishing",
    "done",
]
Event = Literal["phase", "progress", "end"]
Kind = Literal["certify", "tune"]
Stage = Literal["decode", "certify", "assist", "unpack", "tune", "finish"]

STATUSES: Final[dict[Status, str]] = {
    "queued": "waiting for a worker",
    "running": "a worker has it",
    "succeeded": "there is a result: certified or abstained, or a prompt",
    "failed": "there is an error, with a code",
    "cancelled": "cancelled by DELETE",
}
PHASES: Final[dict[Phase, str]] = {
    "queued": "waiting for intake",
    "decoding": "the image is decoded in a process of its own",
    "unpacking": "the images of a tuning are decoded in processes of their own",
    "waiting": "decoded, waiting for an engine",
    "loading": "backbone and prompt are made ready",
    "adapting": "zero-shot adaptation of the prompt",
    "selecting": "n0 samples choose the class",
    "estimating": "up to n samples bound its probability",
    "attacking": "adversarial images are made for an AdvPT prompt",
    "tuning": "the prompt is learned, epoch by epoch",
    "evaluating": "the learned prompt is measured on validation images",
    "finishing": "the certificate or the prompt is stored",
    "done": "ended",
}
EVENTS: Final[dict[Event, str]] = {
    "phase": "the job entered a phase; with the facts of a decoded image also `warnings`, their codes",
    "progress": (
        "samples done and in total, and the counts so far (an estimate, not a certificate); with a target radius also "
        "`running_radius`, proved so far: with probability at least 1 - alpha it is never above the true radius; at a "
        "fixed `n` and `sigma` instead `running_bound` with `p_a_lower_if_ended_now` and `radius_if_ended_now`: an "
        "estimate of the outcome until the end, never a claim; of a "
        "tuning the epochs done and the mean loss of the last one, or the images done"
    ),
    "end": (
        "the job ended; the last event: `status`, of a certification `outcome`, `warnings` (codes), "
        "`label` and `radius` (null in an abstention), of a failure `code`"
    ),
}
ENDED: Final[frozenset[Status]] = frozenset({"succeeded", "failed", "cancelled"})

INTAKE_QUEUE: Final = "intake"
ARCHIVE_QUEUE: Final = "archive"
ENGINE_QUEUE: Final = "engine"
FORMER_ENGINE_QUEUE: Final = "gpu"  # its name in the release before this one, which left jobs there
TASKS: Final[dict[Stage, tuple[str, str]]] = {
    "decode": (INTAKE_QUEUE, "certrad.workers.intake.tasks.decode"),
    "certify": (ENGINE_QUEUE, "certrad.workers.engine.tasks.certify"),
    "assist": (ENGINE_QUEUE, "certrad.workers.engine.tasks.assist"),
    "unpack": (ARCHIVE_QUEUE, "certrad.workers.intake.tasks.unpack"),
    "tune": (ENGINE_QUEUE, "certrad.workers.engine.tasks.tune"),
    "finish": (INTAKE_QUEUE, "certrad.workers.issue.finish"),
}
FORMER_TASKS: Final[dict[str, str]] = {
    "workers.intake.decode": TASKS["decode"][1],
    "workers.engine.certify": TASKS["certify"][1],
    "workers.intake.unpack": TASKS["unpack"][1],
    "workers.engine.tune": TASKS["tune"][1],
    "workers.intake.finish": TASKS["finish"][1],
}
"""The name of each task in the release before this one: its queued jobs run under the new name."""
FIRST_STAGE: Final[dict[Kind, Stage]] = {"certify": "decode", "tune": "unpack"}  # the engine's bears the kind's name

SelfTestPart = Literal["engine", "intake"]

SELFTEST_TASKS: Final[dict[SelfTestPart, tuple[str, str]]] = {
    "engine": (ENGINE_QUEUE, "certrad.workers.engine.tasks.selftest"),
    "intake": (INTAKE_QUEUE, "certrad.workers.intake.selftest.selftest"),
}
"""The tasks of a self-test that POST /selftest orders; they belong to no job."""

PREFIX: Final = "certrad"
JOBS: Final = f"{PREFIX}:jobs"  # zset: job id -> time of creation
ACTIVE: Final = f"{PREFIX}:active"  # zset: job id -> time of creation, until the job ends
TENANTS: Final = f"{PREFIX}:tenants"  # set: every tenant that has sent a job
WORKERS: Final = f"{PREFIX}:workers"  # hash: worker name -> JSON of WorkerCard
SPEEDS: Final = f"{PREFIX}:speeds"  # hash: what a worker measures -> mean of seconds
AUDIT_LOST: Final = f"{PREFIX}:audit:lost"  # number of events of the audit trail that could not be written
DRIFT_OF_ALL: Final = f"{PREFIX}:drift"  # hash: certificates of all tenants and days by series
ENGINE_MEMORY: Final = f"{PREFIX}:workers:memory"  # hash: worker name -> JSON: kind of memory -> bytes
REWRITTEN: Final = f"{PREFIX}:rewritten"  # creation of the newest job that the append-only file was rewritten after
SIGNING_KEYS: Final = f"{PREFIX}:keys"  # zset: public signing key in hexadecimal -> time first used
REVOKED_KEYS: Final = (
    f"{PREFIX}:keys:revoked"  # hash: SHA-256 of a public signing key -> JSON: revoked_at, reason, leaked_at
)
EPOCHS: Final = f"{PREFIX}:epochs"  # zset: SHA-256 of an epoch secret -> time first used
REVEALED: Final = f"{PREFIX}:epochs:revealed"  # hash: SHA-256 of a retired epoch secret -> the secret in hexadecimal
UNSTAMPED: Final = f"{PREFIX}:certificates:unstamped"  # set: SHA-256 of each document that waits for a time stamp
STAMPING: Final = f"{PREFIX}:certificates:stamping"  # a process asks for the waiting stamps, or has just done so
PROMPTS: Final = f"{PREFIX}:prompts"  # hash: prompt id -> JSON of PromptCard
WITHDRAWN: Final = f"{PREFIX}:prompts:withdrawn"  # set of prompt ids
PROMPT_TENANTS: Final = f"{PREFIX}:prompts:tenants"  # hash: id of a tenants' own prompt -> the tenants, by spaces
DEFAULTS: Final = f"{PREFIX}:prompts:defaults"  # hash: task id -> prompt id
ADAPTERS: Final = f"{PREFIX}:adapters"  # hash: adapter id -> JSON of AdapterCard
WITHDRAWN_ADAPTERS: Final = f"{PREFIX}:adapters:withdrawn"  # set of adapter ids
CALIBRATIONS: Final = f"{PREFIX}:engine:calibrations"  # hash: calibration id -> JSON of InstalledCalibration
VERSION: Final = f"{PREFIX}:version"  # hash: version of what is in Redis, and the release that wrote it
FAILED_SELFTESTS: Final = f"{PREFIX}:selftests:failed"  # hash: host, and device or queue -> JSON of FailedSelfTest
TOTALS: Final = f"{PREFIX}:totals"  # hash: JSON list of a counter's name and its labels' values -> number, see `totals`
CALLBACKS: Final = f"{PREFIX}:callbacks"  # zset: id of an ended job -> time of the next attempt to tell its receiver
DEAD_CALLBACKS: Final = (
    f"{PREFIX}:callbacks:dead"  # zset: id of an ended job -> time at which its callback was given up
)
NEWS: Final = f"{PREFIX}:news"  # channel: the id of a job after each event that is added to its stream
OWN_BACKBONES: Final = f"{PREFIX}:backbones:own"  # hash: id of an operator's backbone -> JSON of BackboneCard
OWN_TASKS: Final = f"{PREFIX}:tasks:own"  # hash: id of an operator's task -> JSON of TaskCard


def record_key(job_id: str) -> str:
    """Returns the key of the hash that is the truth about a job."""
    return f"{PREFIX}:job:{job_id}"


def jobs_of(tenant: str) -> str:
    """Returns the key of the jobs of a tenant, a sorted set as `JOBS`."""
    return f"{JOBS}:of:{tenant}"


def active_of(tenant: str) -> str:
    """Returns the key of the jobs of a tenant that have not ended, a sorted set as `ACTIVE`."""
    return f"{ACTIVE}:of:{tenant}"


def withdrawn_of(tenant: str) -> str:
    """Returns the key of the tenant's own prompts that it has withdrawn, a set as `WITHDRAWN`."""
    return f"{WITHDRAWN}:of:{tenant}"


def session_key(sha256: str) -> str:
    """Returns the key of a session of the page, by the SHA-256 of its cookie."""
    return f"{PREFIX}:session:{sha256}"


def sessions_of(key_id: str) -> str:
    """Returns the key of the zset of the sessions of one API key, by their start."""
    return f"{PREFIX}:sessions:of:{key_id}"


def events_key(job_id: str) -> str:
    """Returns the key of the stream of a job's events, which the API sends as server-sent events."""
    return f"{record_key(job_id)}:events"


def input_key(job_id: str) -> str:
    """Returns the key of a running job's float32 input, for a tuning a hash of one per image; deleted when it ends."""
    return f"{record_key(job_id)}:input"


def ledger_key(job_id: str) -> str:
    """Returns the key of a running job's block ledger, or of a tuning's steps; deleted when it ends."""
    return f"{record_key(job_id)}:ledger"


def claims_key(job_id: str) -> str:
    """Returns the key of the hash that says how far the batches of a running job are handed out; deleted when it ends.

    Its fields: `run`, the name of the run of samples; `n`, `batch` and `size`, how that is cut; `next`, the first
    sample that was never handed out; `limit`, the sample to stop before; `by:` and the name of an engine, its blocks.
    """
    return f"{record_key(job_id)}:claims"


def lapses_key(job_id: str) -> str:
    """Returns the key of the zset of batches handed out: first sample -> when its claim lapses, in milliseconds."""
    return f"{record_key(job_id)}:lapses"


def document_key(job_id: str) -> str:
    """Returns the key of what an engine hands to intake, a certificate document or a result; deleted when it ends."""
    return f"{record_key(job_id)}:document"


def keys_of_running(job_id: str) -> list[str]:
    """Returns the keys that do not outlive a job."""
    return [key(job_id) for key in (input_key, ledger_key, claims_key, lapses_key, document_key)]


def drift_key(tenant: str, day: str) -> str:
    """Returns the key of the hash of a tenant's certificates of one day (2026-11-30) by series."""
    return f"{DRIFT_OF_ALL}:{tenant}:{day}"


def idempotency_key(key_sha256: str) -> str:
    """Returns the key of the job that an Idempotency-Key created, with the digest of its request."""
    return f"{PREFIX}:idem:{key_sha256}"


def selftest_key(test_id: str) -> str:
    """Returns the key of the hash of an ordered self-test: when it was ordered, and the report of each part."""
    return f"{PREFIX}:selftest:{test_id}"


def callback_key(job_id: str) -> str:
    """Returns the key of the hash of the message about the end of a job, and of its receiver."""
    return f"{PREFIX}:callback:{job_id}"


def queue_key(queue: str) -> str:
    """Returns the key that RQ gives the list of a queue: the id of each waiting RQ job, which is called an entry."""
    return f"rq:queue:{queue}"


def split_entry(entry: str) -> tuple[str, str]:
    """Returns the job and the stage of the id of an RQ job; a ticket has a random part where others have the stage."""
    job_id, _, stage = entry.rpartition("-")
    return job_id, stage


def turns_key(queue: str) -> str:
    """Returns the key of the hash of a queue's turns, each as `precedence:round:tenant`.

    Its fields are the id of each waiting RQ job, and `=precedence:tenant` for the last turn that a tenant had.
    """
    return f"{PREFIX}:turns:{queue}"


def urgent_key(tenant: str) -> str:
    """Returns the key of the urgent jobs of a tenant, that have not ended, a sorted set as `ACTIVE`."""
    return f"{PREFIX}:urgent:of:{tenant}"


def prompt_bytes_key(sha256: str) -> str:
    """Returns the key of a prompt checkpoint's bytes, for nodes that do not hold them yet."""
    return f"{PREFIX}:prompt:{sha256}"


def adapter_bytes_key(sha256: str) -> str:
    """Returns the key of the bytes of an adapter, for nodes that do not hold them yet."""
    return f"{PREFIX}:adapter:{sha256}"
