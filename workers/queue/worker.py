"""RQ workers in this project's configuration: one queue each, JSON, the allow-list, logs that hold job ids only."""

import os
import socket
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Final

import structlog
from redis import Redis
from redis.client import Pipeline, PubSub, PubSubWorkerThread
from redis.exceptions import ConnectionError, TimeoutError
from rq import Queue, Worker, worker_registration
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job
from rq.job_lifecycle import call_exception_handlers
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import now

from certrad.workers.connection import quiet_seconds
from certrad.workers.contract.exit_codes import FAILURE
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import split_entry
from certrad.workers.contract.queues import AllowedJob
from certrad.workers.contract.records import Records
from certrad.workers.contract.speeds import note_stage
from certrad.workers.contract.tickets import is_ticket
from certrad.workers.contract.turns import forget, place
from certrad.workers.contract.waiting import refuses_writes
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.keys.time_stamps import stamp_waiting
from certrad.workers.parent_death import die_with
from certrad.workers.queue import stopping
from certrad.workers.queue.maintenance import reap
from certrad.workers.queue.ready_horse import ReadyHorse
from certrad.workers.queue.shortage import ShortageError
from certrad.workers.queue.slices import SliceOverError
from certrad.workers.queue.stage_log import stage_of_a_job
from certrad.workers.settings import WorkerSettings

_RQ_DEQUEUE_SLACK: Final = 15  # RQ waits for a job for worker_ttl less this
_MISSED_HEARTBEATS: Final = 3  # after so many its job goes to another worker
_DEAD_AFTER_HEARTBEATS: Final = 6  # after so many a worker counts as dead

_NOTED_STAGES: Final = ("decode", "finish")  # an engine notes what a certificate took by its samples

_log = structlog.get_logger()


class QueueWorker(Worker):
    """An RQ worker on one queue, with this project's intervals, serializer and allow-list.

    One queue per process: between the queue and the job, RQ can lose a job for ever when it serves several.
    """

    job_class = AllowedJob
    failure_code = FAILURE  # the exit code of a worker that ends by itself
    _slice_of: str | None = None  # the tenant of the job that is being handed back at the end of its slice

    def __init__(
        self, queue_name: str, *, name: str, redis: Redis, settings: WorkerSettings, prepare_for_work: bool = True
    ) -> None:
        self.settings = settings
        self._parent_pid = os.getpid()
        super().__init__(
            [queue_name],
            name=name,
            connection=redis,
            serializer=JSONSerializer,
            worker_ttl=_RQ_DEQUEUE_SLACK + settings.heartbeat_seconds,
            job_monitoring_interval=settings.heartbeat_seconds,
            maintenance_interval=settings.maintenance_seconds,
            log_job_description=False,
            exception_handlers=[self._on_exception],
            prepare_for_work=prepare_for_work,
        )
        self.log_result_lifespan = False

    @property
    def stop_requested(self) -> bool:
        """Returns whether a signal or command requested this worker to stop."""
        return self._shutdown_requested_date is not None

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Returns the seconds after its last heartbeat when a job counts as abandoned; RQ's own minute is too long."""
        return _MISSED_HEARTBEATS * self.settings.heartbeat_seconds

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Publishes that this worker lives, and registers it again if it was taken for dead, as after a sleep."""
        ttl = _DEAD_AFTER_HEARTBEATS * self.settings.heartbeat_seconds
        if pipeline is not None or self.birth_date is None:
            super().heartbeat(ttl, pipeline)
            return
        with self.connection.pipeline(transaction=False) as batch:  # one round trip: a job may be waiting
            super().heartbeat(ttl, batch)
            batch.hexists(self.key, "birth")
            worker_registration.register(self, batch)
            _, _, _, is_known, *_ = batch.execute()
        if not is_known:
            self.connection.hset(self.key, mapping=self.serialize())

    def clean_registries(self) -> None:
        """Cleans up as RQ does, once every worker has had time for a heartbeat since Redis was away or took no writes.

        No heartbeat arrives in such a time, so that jobs under way would be taken for abandoned.
        """
        if quiet_seconds(self.connection) > _MISSED_HEARTBEATS * self.settings.heartbeat_seconds:
            super().clean_registries()  # type: ignore[no-untyped-call]  # rq is untyped here
        else:
            self.last_cleaned_at = now()  # type: ignore[assignment]  # rq initialises it with None

    def handle_warm_shutdown_request(self) -> None:
        """Asks the task to stop, which also ends a wait for a Redis that takes no writes."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]  # rq is untyped here
        stopping.request()

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Performs a job as RQ does, and logs it.

        Returns:
            Whether the job succeeded.
        """
        with stage_of_a_job(self.connection, job):
            began = time.monotonic()
            done: bool = super().perform_job(job, queue, execution)
            seconds = time.monotonic() - began
            _log.info("task ended", task=job.id, done=done, seconds=round(seconds, 3))
        _, stage = split_entry(job.id)
        if done and stage in _NOTED_STAGES:
            note_stage(self.connection, stage, seconds)
        return done

    def handle_exception(self, job: Job, *exc_info: object) -> None:
        """Logs an exception by its type and lines; RQ would log its message and the arguments of the job."""
        _log.error("task raised", task=job.id, exc_info=exc_info)
        call_exception_handlers(self._exc_handlers, job, *exc_info)

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: object = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """Fails or retries a job as RQ does, without the text of its exception, which would be kept in Redis."""
        super().handle_job_failure(job, queue, started_job_registry, exc_string="", execution=execution)
        if self._slice_of is not None:
            tenant, self._slice_of = self._slice_of, None
            place(self.connection, queue.name, job.id, urgent=False, tenant=tenant, reason="again")

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Performs a job in a forked child that dies with its parent: another worker may have the job by then."""
        die_with(self._parent_pid)
        super().main_work_horse(job, queue)

    def _on_exception(
        self, job: Job, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if issubclass(kind, (stopping.StopRequested, ShortageError, SliceOverError)) or refuses_writes(error):
            job.retries_left = (job.retries_left or 0) + 1  # handing a job back costs none
            # What waits for room goes behind the tasks that make room.
            job.enqueue_at_front_on_retry = not issubclass(kind, (ShortageError, SliceOverError))
            self._slice_of = error.tenant if isinstance(error, SliceOverError) else None
            if issubclass(kind, ShortageError):
                forget(self.connection, job.origin, job.id)
        elif issubclass(kind, JobTimeoutException) and not is_ticket(job.id):
            records = Records(self.connection, ttl=self.settings.job_ttl)
            records.fail(job.args[0], "job_timeout", f"the job ran longer than {self.settings.job_timeout} s")

    def _pubsub_exception_handler(self, exc: Exception, pubsub: PubSub, pubsub_thread: PubSubWorkerThread) -> None:
        """Keeps the subscription to commands when Redis is slow or gone, for which RQ would give it up."""
        patient = ConnectionError(str(exc)) if isinstance(exc, TimeoutError) else exc
        super()._pubsub_exception_handler(patient, pubsub, pubsub_thread)


class IntakeWorker(QueueWorker):
    """The forking worker of untrusted bytes; its maintenance also covers jobs and uploads without another owner.

    It forks the work horse of the next job while it waits for that job.
    """

    _ready: ReadyHorse | None = None

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Returns the next job, for which a work horse is ready."""
        if self._ready is None:
            self._ready = ReadyHorse(self._perform, prepare=self._prepare)
        return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Gives the job to the work horse that is ready, or forks one if that was killed."""
        ready, self._ready = self._ready, None
        (execution,) = self.executions
        if ready is not None and ready.order(job.id, execution):
            self._horse_pid = ready.pid
        else:
            super().fork_work_horse(job, queue)

    def teardown(self) -> None:
        """Ends the work horse that is ready and signs off."""
        if self._ready is not None:
            self._ready.close()
        super().teardown()  # type: ignore[no-untyped-call]  # rq is untyped here

    def _prepare(self) -> None:
        """Makes this process, a copy of the worker, a work horse with a connection of its own."""
        die_with(self._parent_pid)
        self.setup_work_horse_signals()  # type: ignore[no-untyped-call]  # rq is untyped here
        self.connection.connection_pool.reset()
        self.connection.ping()

    def _perform(self, job_id: str, execution_id: str) -> None:
        """Performs a job as a work horse that is forked for it does; it ignores a job that was erased meanwhile."""
        with suppress(NoSuchJobError):
            job = self.job_class.fetch(job_id, self.connection, self.serializer)
            self.execution = Execution(execution_id, job_id, self.connection, worker_name=self.name)
            self.main_work_horse(job, self.queues[0])

    def run_maintenance_tasks(self) -> None:
        """Runs RQ's maintenance, then ours: lost jobs, public keys that Redis may have lost, missing time stamps."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # rq is untyped here
        reap(self.connection, self.settings)
        SigningKeys(self.settings.signing_dir).publish(Keyring(self.connection))
        stamp_waiting(self.connection, self.settings)


def worker_name(queue_name: str) -> str:
    """Returns a name no worker had before: RQ refuses the name of a worker that was killed, for minutes."""
    return f"{socket.gethostname()}-{queue_name}-{uuid.uuid4().hex[:8]}"
