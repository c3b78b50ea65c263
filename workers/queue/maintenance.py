"""Maintenance: repairs jobs whose RQ job is lost or given up, and removes uploads and worker cards without an owner."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import structlog
from redis import Redis
from rq.job import Job

from certrad.workers.contract import outputs
from certrad.workers.contract.audit import open_trail
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import JobRecord, UnreadableRecordError
from certrad.workers.contract.names import (
    ENDED,
    ENGINE_QUEUE,
    FIRST_STAGE,
    FORMER_ENGINE_QUEUE,
    Phase,
    Stage,
    split_entry,
)
from certrad.workers.contract.queues import enqueue, queue, queue_of, rq_job_id, worker_exists
from certrad.workers.contract.records import Records
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.contract.turns import place
from certrad.workers.queue.append_only_file import rewrite_when_idle
from certrad.workers.queue.stopping import DEADLINE_PASSED
from certrad.workers.settings import WorkerSettings

_INTAKE: Final[frozenset[Phase]] = frozenset({"queued", "decoding", "unpacking"})
_ORPHAN_SECONDS: Final = 3_600

_RQState = Literal["on its way", "lost", "given up", "finished"]
_log = structlog.get_logger()


def reap(redis: Redis, settings: WorkerSettings, *, clock: Callable[[], float] = time.time) -> None:
    """Repairs or ends jobs, deletes what is past its time or has no owner, and has Redis rewrite its file when idle.

    It may run in any number of processes at any time. It enqueues again an RQ job that RQ has lost, and our job
    continues from its ledger; it places an RQ job that has no turn. It ends our job if RQ has given up the RQ job, if
    its deadline has passed, or if the record cannot be read. It forgets an id without a record, listed jobs that have
    expired and the cards of engines that are gone. It deletes the uploads of ended jobs, uploads that no job ever named
    once they are an hour old, the outputs of ended jobs once they are past their time to live, and files of the audit
    trail once they are past their retention. While no job is active it has Redis rewrite its append-only file.

    Args:
        redis: The job store.
        settings: Times to live, time between two runs, and folders.
        clock: Seconds since 1970.
    """
    records = Records(redis, ttl=settings.job_ttl, clock=clock)
    for job_id in records.active():
        try:
            _repair_or_end(job_id, redis, records, settings, clock())
        except UnreadableRecordError as error:
            _log.error("job record cannot be read", job_id=job_id, error=type(error.__cause__).__name__)
            records.fail(job_id, "internal_error", "the record of the job cannot be read")
    records.listing.forget_expired()
    _delete_uploads(records, settings, clock())
    _delete_outputs(records, settings, clock())
    _forget_workers(redis)
    _expire_audit_trail(redis, settings, clock)
    rewrite_when_idle(redis, clock=clock)


def _repair_or_end(job_id: str, redis: Redis, records: Records, settings: WorkerSettings, now: float) -> None:
    record = records.read(job_id)
    if record is None:
        records.erase(job_id)
        return
    deadline = record.submission.deadline_at
    if not record.ended and record.phase != "finishing" and deadline is not None and now > deadline:
        records.fail(job_id, "deadline_exceeded", DEADLINE_PASSED)
        return
    # A record that moved just now has an RQ job, or the process that moved it is about to send one.
    if record.ended or now - record.updated_at < settings.maintenance_seconds:
        return
    stage = stage_of(record)
    rq_state = _rq_state(redis, stage, job_id, now)
    if rq_state == "on its way":
        _repair_turn(redis, stage, record)
    if rq_state == "on its way" or records.read(job_id) != record:
        return
    _log.warning("job without an RQ job", job_id=job_id, stage=stage, rq_state=rq_state)
    match rq_state:
        case "lost":
            _send_again(redis, stage, record, settings)
        case "given up":
            records.fail(job_id, "worker_lost", f"its stage `{stage}` failed or died {settings.job_retries + 1} times")
        case "finished":
            records.fail(job_id, "internal_error", f"its stage `{stage}` ended without an outcome")


def stage_of(record: JobRecord) -> Stage:
    """Returns the stage that carries a job which has not ended.

    Args:
        record: The record of the job.
    """
    if record.phase in _INTAKE:
        return FIRST_STAGE[record.request.kind]
    return "finish" if record.phase == "finishing" else record.request.kind


def move_former_jobs(redis: Redis, settings: WorkerSettings, *, clock: Callable[[], float] = time.time) -> None:
    """Moves the jobs that the release before this one put into the engines' former queue to their queue of today.

    It may run in any number of processes at any time: an RQ job belongs to the process that takes its id from the
    former queue. If that process dies before it has sent the job again, the job is lost to RQ and `reap` sends it.

    Args:
        redis: The job store.
        settings: Times to live, and the time limits of a message.
        clock: Seconds since 1970.
    """
    records = Records(redis, ttl=settings.job_ttl, clock=clock)
    former = queue(redis, FORMER_ENGINE_QUEUE)
    for rq_id in former.job_ids:
        if not redis.lrem(former.key, 0, rq_id):
            continue
        job_id, _ = split_entry(rq_id)
        try:
            record = records.read(job_id)
        except UnreadableRecordError:
            continue  # `reap` ends it
        if record is None or record.ended:
            redis.delete(Job.key_for(rq_id))
        elif _rq_state(redis, stage_of(record), job_id, clock()) == "lost":
            _send_again(redis, stage_of(record), record, settings)
            _log.info("job moved", job_id=job_id, queue=ENGINE_QUEUE)


def _rq_state(redis: Redis, stage: Stage, job_id: str, now: float) -> _RQState:
    """Returns the state of a stage's RQ job.

    RQ keeps every job it will perform in one of three places: the queue, the intermediate queue between queue and
    worker, and the registry of started executions, whose entries RQ itself retries when their heartbeats end. An
    engine of the release before this one has its executions in the registry of its own queue, which RQ cleans no more:
    there a heartbeat that has ended counts for nothing.
    """
    rq_queue, former = queue_of(redis, stage, job_id), queue(redis, FORMER_ENGINE_QUEUE)
    rq_id = rq_job_id(job_id, stage)
    with redis.pipeline(transaction=True) as snapshot:
        snapshot.hget(Job.key_for(rq_id), "status")
        snapshot.lpos(rq_queue.key, rq_id)
        snapshot.lpos(rq_queue.intermediate_queue_key, rq_id)
        snapshot.zrange(rq_queue.started_job_registry.key, 0, -1)
        snapshot.zrangebyscore(former.started_job_registry.key, now, "+inf")
        status, queued, dequeued, started, started_by_former = snapshot.execute()
    if status in (b"failed", b"stopped", b"canceled"):
        return "given up"
    if status == b"finished":
        return "finished"
    running = any(execution.startswith(f"{rq_id}:".encode()) for execution in (*started, *started_by_former))
    if status is None or (queued is None and dequeued is None and not running):
        return "lost"
    return "on its way"


def _repair_turn(redis: Redis, stage: Stage, record: JobRecord) -> None:
    """Places an RQ job that waits behind others without a turn: a process died before it had placed it."""
    name = queue_of(redis, stage, record.id).name
    urgent, tenant = record.request.urgent, record.submission.tenant
    place(redis, name, rq_job_id(record.id, stage), urgent=urgent, tenant=tenant, reason="repair")


def _send_again(redis: Redis, stage: Stage, record: JobRecord, settings: SharedSettings) -> None:
    redis.delete(Job.key_for(rq_job_id(record.id, stage)))
    enqueue(
        redis,
        stage,
        record.id,
        settings=settings,
        urgent=record.request.urgent,
        tenant=record.submission.tenant,
    )


def _delete_uploads(records: Records, settings: WorkerSettings, now: float) -> None:
    if not settings.blobs_dir.exists():
        return
    for path in settings.blobs_dir.iterdir():
        status = records.status(path.name)
        if status in ENDED if status else _age(path, now) > _ORPHAN_SECONDS:
            path.unlink(missing_ok=True)


def _delete_outputs(records: Records, settings: WorkerSettings, now: float) -> None:
    if not settings.outputs_dir.exists():
        return
    of_job: dict[str, list[Path]] = {}
    for path in settings.outputs_dir.iterdir():
        of_job.setdefault(outputs.job_of(path), []).append(path)
    for job_id, paths in of_job.items():
        # A job ends after its first output was stored, so none of them is past its time before that one is. To read the
        # record of each would hold up the jobs that wait: a busy service keeps thousands of outputs. An age below zero
        # comes from a clock that was put back, and says nothing.
        if 0 <= max(_age(path, now) for path in paths) <= min(settings.output_ttl, _ORPHAN_SECONDS):
            continue
        ended_at = _ended_at(records, job_id)
        for path in paths:
            if _age(path, now) > _ORPHAN_SECONDS if ended_at is None else now - ended_at > settings.output_ttl:
                path.unlink(missing_ok=True)


def _ended_at(records: Records, job_id: str) -> float | None:
    """Returns when a job ended; infinity for one that has not, None without a readable record."""
    try:
        record = records.read(job_id)
    except UnreadableRecordError:
        return None
    if record is None:
        return None
    return record.updated_at if record.ended else float("inf")


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:  # deleted by the process that it belongs to
        return 0.0


def _expire_audit_trail(redis: Redis, settings: WorkerSettings, clock: Callable[[], float]) -> None:
    try:
        open_trail(settings, redis, clock=clock).expire(days=settings.audit_retention_days, process="maintenance")
    except OSError as error:  # a full disk: the event that a file expired has no room, so the file stays
        _log.warning("audit trail not expired", error=type(error).__name__, errno=error.errno)


def _forget_workers(redis: Redis) -> None:
    """Forgets the engines whose RQ worker is gone without having signed off."""
    catalogue = Catalogue(redis)
    for card in catalogue.workers():
        if not worker_exists(redis, card.name):
            catalogue.forget_worker(card.name)
