"""The RQ worker of an engine, whose jobs one process performs that keeps the models between them."""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from threading import Lock, Timer
from typing import ClassVar, Final

from redis import Redis
from rq import Queue
from rq.job import Job

from certrad.models.installed import own_cards
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.exit_codes import SELFTEST_FAILED
from certrad.workers.contract.names import WORKERS
from certrad.workers.engine.protocol import DONE, LEAVING, READY, REPUBLISH, Order
from certrad.workers.environment import ALLOCATOR, SPINNING
from certrad.workers.queue.maintenance import move_former_jobs
from certrad.workers.queue.worker import QueueWorker
from certrad.workers.settings import WorkerSettings

_LEAVE_SECONDS: Final = 10.0


class EngineFailedError(Exception):
    """The engine ended before it had passed its self-test with its models loaded; its log says why."""


class EngineProcess:
    """One engine process from its parent's side: orders go in, one byte per job comes back.

    The process dies with the thread that made this object, and at the end of its orders.
    """

    def __init__(self, module: str, worker_name: str) -> None:
        self._channel, far_end = socket.socketpair()
        with far_end:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", module, worker_name, str(far_end.fileno()), str(os.getpid())],
                env={**ALLOCATOR, **SPINNING, **os.environ},
                stdin=subprocess.DEVNULL,
                pass_fds=(far_end.fileno(),),
                start_new_session=True,
            )
        self.ready = False

    @property
    def pid(self) -> int:
        """Returns the process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Returns whether the process runs."""
        return self._process.poll() is None

    def order(self, order: Order) -> None:
        """Sends an order; if the process is dead, `answer` then returns nothing."""
        with suppress(BrokenPipeError):
            self._channel.sendall(order.to_line())

    def order_republish(self) -> None:
        """Asks the process, between two orders, to publish again what it offers: weights may have been fetched."""
        with suppress(BrokenPipeError):
            self._channel.sendall(REPUBLISH)

    def answered(self, timeout: float | None) -> bool:
        """Waits until there is an answer to read or the process has ended; it consumes nothing.

        Args:
            timeout: Seconds to wait at most; None for no limit.

        Returns:
            Whether there is an answer, or the end.
        """
        return bool(select.select([self._channel], [], [], timeout)[0])

    def answer(self) -> bytes:
        """Returns the next answer; empty when the process has ended."""
        try:
            answer = self._channel.recv(1)
        except ConnectionResetError:  # it was killed before it had read its order
            return b""
        self.ready |= answer == READY
        return answer

    def signal(self, signum: signal.Signals) -> None:
        """Sends a signal; a dead process ignores it."""
        self._process.send_signal(signum)

    def close(self) -> int:
        """Ends the process, by force if it does not end by itself.

        Returns:
            The exit code as Popen gives it.
        """
        self._channel.close()
        try:
            return self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class EngineWorker(QueueWorker):
    """An RQ worker that sends its jobs to an engine process instead of forking one for each.

    A CUDA context does not survive a fork and models take seconds to load, so one engine process stays. Heartbeats,
    time limits, stop commands, retries and the search for abandoned jobs are RQ's own. The worker takes a job only
    while its engine has its models loaded. This process never imports torch. It reads the operator's own cards once,
    and publishes them: engine, intake and API take them from Redis.

    Raises:
        CardError: A card of the operator cannot be used.
    """

    engine_module: ClassVar[str] = "certrad.workers.engine.process"

    def __init__(self, queue_name: str, *, name: str, redis: Redis, settings: WorkerSettings) -> None:
        own = own_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
        super().__init__(queue_name, name=name, redis=redis, settings=settings)
        self._own_cards = own
        self._own_cards_published = False
        self._engine: EngineProcess | None = None
        self._card: bytes | str | None = None
        self._ordered: Order | None = None
        self._ordered_lock = Lock()

    def run_maintenance_tasks(self) -> None:
        """Does RQ's maintenance, moves jobs from the former queue, and replaces an engine that died while idle.

        It publishes the operator's cards, and the engine's card again if Redis has forgotten it: this worker seemed
        dead for a while, as when its machine slept. It has the engine publish which weights there are now. RQ calls
        this at the start and then every `maintenance_seconds`.
        """
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # rq is untyped here
        move_former_jobs(self.connection, self.settings)
        self._publish_own_cards()
        if not self._stop_requested:
            self._await_engine()
            if self._card is not None:
                self.connection.hsetnx(WORKERS, self.name, self._card)
            if self._engine is not None:
                self._engine.order_republish()

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Returns the next job, once the engine has its models loaded."""
        self._await_engine()
        return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Sends the job to the engine."""
        engine = self._live_engine()
        self._horse_pid = engine.pid
        (execution,) = self.executions
        order = Order(job=job.id, execution=execution)
        with self._ordered_lock:
            self._ordered = order
        engine.order(order)

    def wait_for_horse(self) -> tuple[int | None, int | None, None]:
        """Returns what `os.wait4` would for a forked child, once the engine has performed its order or ended.

        RQ's alarm interrupts it for heartbeats.
        """
        engine = self._engine
        if engine is None:  # a second SIGTERM came after the engine had ended
            return None, None, None
        answer = READY
        while answer == READY:
            engine.answered(None)
            signal.alarm(0)  # an alarm between reading an answer and keeping it would lose the answer
            answer = engine.answer()
            if answer == READY:
                signal.alarm(self.job_monitoring_interval)
        with self._ordered_lock:
            self._ordered = None
        if answer == DONE:
            return engine.pid, os.EX_OK, None
        code = self._part_with(engine)
        return engine.pid, os.EX_OK if answer == LEAVING else _wait_status(code), None

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kills the engine; after a request to stop its job, only if the engine has not ended the job within the grace.

        A cancelled job ends by itself after its block, and the models need not be loaded again.
        """
        engine, order = self._engine, self._ordered
        if engine is None or order is None:
            return
        if self._stopped_job_id == order.job:
            patience = Timer(self.settings.cancel_grace_seconds, self._kill_if_still_on, (engine, order))
            patience.daemon = True
            patience.start()
        else:
            engine.signal(sig)

    def handle_warm_shutdown_request(self) -> None:
        """Asks the engine to hand its job back after the current block."""
        super().handle_warm_shutdown_request()
        if self._engine is not None:
            self._engine.signal(signal.SIGTERM)

    def teardown(self) -> None:
        """Ends the engine and signs off."""
        if self._engine is not None:
            self._part_with(self._engine)
        super().teardown()  # type: ignore[no-untyped-call]  # rq is untyped here

    def _publish_own_cards(self) -> None:
        """Publishes the operator's cards at the start, and again when Redis has lost them."""
        catalogue = Catalogue(self.connection)
        if self._own_cards_published:
            catalogue.restore_own(self._own_cards)
        else:
            catalogue.publish_own(self._own_cards)
            self._own_cards_published = True

    def _await_engine(self) -> None:
        engine = self._live_engine()
        while not engine.ready:
            if engine.answered(self.job_monitoring_interval):
                self._greet(engine)
            self.heartbeat()

    def _greet(self, engine: EngineProcess) -> None:
        if engine.answer() != READY:
            if self._part_with(engine) == SELFTEST_FAILED:
                self.failure_code = SELFTEST_FAILED
                raise EngineFailedError("the self-test of the engine failed")
            raise EngineFailedError("the engine ended before it had loaded its models")
        self._card = self.connection.hget(WORKERS, self.name)

    def _live_engine(self) -> EngineProcess:
        if self._engine is not None and not self._engine.alive:
            self._part_with(self._engine)
        if self._engine is None:
            self._engine = EngineProcess(self.engine_module, self.name)
        return self._engine

    def _part_with(self, engine: EngineProcess) -> int:
        """Ends the engine and forgets its card, which the next engine publishes once it is loaded.

        Returns:
            The exit code of the engine.
        """
        code = engine.close()
        self._engine = self._card = None
        Catalogue(self.connection).forget_worker(self.name)
        return code

    def _kill_if_still_on(self, engine: EngineProcess, order: Order) -> None:
        with self._ordered_lock:
            if self._ordered == order:
                engine.signal(signal.SIGKILL)


def _wait_status(code: int) -> int:
    """Returns the wait status of a process that ended without an answer, from the exit code that Popen gives."""
    return -code if code < 0 else (code or 1) << 8
