"""Every name that crosses Redis: queues, tasks, keys, statuses, phases and events."""

from typing import Final, Literal

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Phase = Literal["queued", "decoding", "waiting", "loading", "adapting", "selecting", "estimating", "finishing", "done"]
Event = Literal["phase", "progress", "end"]
Stage = Literal["decode", "certify", "finish"]

STATUSES: Final[dict[Status, str]] = {
    "queued": "waiting for a worker",
    "running": "a worker has it",
    "succeeded": "there is a result: certified or abstained",
    "failed": "there is an error, with a code",
    "cancelled": "cancelled by DELETE",
}
PHASES: Final[dict[Phase, str]] = {
    "queued": "waiting for intake",
    "decoding": "the image is decoded in a process of its own",
    "waiting": "decoded, waiting for an engine",
    "loading": "backbone and prompt are made ready",
    "adapting": "zero-shot adaptation of the prompt",
    "selecting": "n0 samples choose the class",
    "estimating": "up to n samples bound its probability",
    "finishing": "the certificate is stored",
    "done": "ended",
}
EVENTS: Final[dict[Event, str]] = {
    "phase": "the job entered a phase",
    "progress": (
        "samples done, and the counts so far (an estimate, not a certificate); with a target radius also "
        "`running_radius`, shown so far: with probability at least 1 - alpha it is never above the true radius"
    ),
    "end": "the job ended; the last event",
}
ENDED: Final[frozenset[Status]] = frozenset({"succeeded", "failed", "cancelled"})

INTAKE_QUEUE: Final = "intake"
GPU_QUEUE: Final = "gpu"
TASKS: Final[dict[Stage, tuple[str, str]]] = {
    "decode": (INTAKE_QUEUE, "workers.intake.decode"),
    "certify": (GPU_QUEUE, "workers.engine.certify"),
    "finish": (INTAKE_QUEUE, "workers.intake.finish"),
}

PREFIX: Final = "certrad"
JOBS: Final = f"{PREFIX}:jobs"  # zset: job id -> time of creation
ACTIVE: Final = f"{PREFIX}:active"  # zset: job id -> time of creation, until the job ends
WORKERS: Final = f"{PREFIX}:workers"  # hash: worker name -> JSON of WorkerCard
SIGNING_KEYS: Final = f"{PREFIX}:keys"  # zset: public signing key in hexadecimal -> time first used
EPOCHS: Final = f"{PREFIX}:epochs"  # zset: SHA-256 of an epoch secret -> time first used
REVEALED: Final = f"{PREFIX}:epochs:revealed"  # hash: SHA-256 of a retired epoch secret -> the secret in hexadecimal
PROMPTS: Final = f"{PREFIX}:prompts"  # hash: prompt id -> JSON of PromptCard
WITHDRAWN: Final = f"{PREFIX}:prompts:withdrawn"  # set of prompt ids
DEFAULTS: Final = f"{PREFIX}:prompts:defaults"  # hash: task id -> prompt id


def record_key(job_id: str) -> str:
    """The hash that is the truth about a job."""
    return f"{PREFIX}:job:{job_id}"


def events_key(job_id: str) -> str:
    """The stream of a job's events, read by SSE."""
    return f"{PREFIX}:job:{job_id}:events"


def input_key(job_id: str) -> str:
    """The float32 tensor of a running job; deleted when it ends."""
    return f"{PREFIX}:job:{job_id}:input"


def ledger_key(job_id: str) -> str:
    """The block ledger of a running job; deleted when it ends."""
    return f"{PREFIX}:job:{job_id}:ledger"


def document_key(job_id: str) -> str:
    """The certificate document between engine and intake, which stores it; deleted when the job ends."""
    return f"{PREFIX}:job:{job_id}:document"


def idempotency_key(key_sha256: str) -> str:
    """The job that an Idempotency-Key created, with the digest of its request."""
    return f"{PREFIX}:idem:{key_sha256}"


def prompt_bytes_key(sha256: str) -> str:
    """The bytes of a prompt checkpoint, for nodes that do not hold it yet."""
    return f"{PREFIX}:prompt:{sha256}"
