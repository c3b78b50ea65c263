"""The engine process: loads the models once and performs, one after another, the jobs that its parent orders.

`python -m certrad.workers.engine.process NAME CHANNEL_FD PARENT_PID`: orders come through the channel
as JSON lines, and one byte goes back for each.
"""

import signal
import sys
from collections.abc import Callable
from socket import socket
from types import FrameType, TracebackType

from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job

from certrad.workers.connection import connect
from certrad.workers.contract import logs, tracing
from certrad.workers.contract.exit_codes import SELFTEST_FAILED
from certrad.workers.contract.names import ENGINE_QUEUE
from certrad.workers.contract.selftest import SelfTestFailedError
from certrad.workers.engine.protocol import DONE, LEAVING, READY, REPUBLISH, Order
from certrad.workers.parent_death import die_with
from certrad.workers.queue import stopping
from certrad.workers.queue.worker import QueueWorker
from certrad.workers.settings import WorkerSettings


class JobPerformer(QueueWorker):
    """The RQ worker inside the engine process: performs jobs under the name of its parent."""

    def __init__(self, queue_name: str, *, name: str, settings: WorkerSettings) -> None:
        super().__init__(
            queue_name,
            name=name,
            redis=connect(settings, is_stopping=stopping.requested),
            settings=settings,
            prepare_for_work=False,
        )
        self._is_horse = True
        self.busy = False
        self.leaving = False

    def perform(self, order: Order) -> None:
        """Performs one job as RQ does, and records its end; it ignores a job that was erased meanwhile."""
        try:
            job = self.job_class.fetch(order.job, self.connection, self.serializer)
        except NoSuchJobError:
            return
        execution = Execution(order.execution, order.job, self.connection, worker_name=self.name)
        self.perform_job(job, self.queues[0], execution)

    def _on_exception(
        self, job: Job, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        super()._on_exception(job, kind, error, traceback)
        self.leaving |= issubclass(kind, SystemExit)


def serve(
    performer: JobPerformer, start: Callable[[str], None], republish: Callable[[str], None], channel: socket
) -> None:
    """Loads the models, then performs orders until they end, a task raises SystemExit, or SIGTERM asks to stop.

    On SIGTERM a running task gets a request to stop (`certrad.workers.queue.stopping`); without a running task the
    process ends at once.

    Args:
        performer: Performs the jobs.
        start: Loads the models, for the name of the worker.
        republish: Publishes again what the engine offers, for the name of the worker.
        channel: Brings the orders.

    Raises:
        SystemExit: A task raised it, or the process has nothing to finish on SIGTERM.
    """

    def stop(_: int, __: FrameType | None) -> None:
        stopping.request()
        if not performer.busy:
            raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    start(performer.name)
    channel.sendall(READY)
    with channel.makefile("rb") as orders:
        for line in orders:
            if line == REPUBLISH:
                republish(performer.name)
                continue
            performer.busy = True
            performer.perform(Order.from_line(line))
            leaving = performer.leaving or stopping.requested()
            channel.sendall(LEAVING if leaving else DONE)
            if leaving:
                return
            performer.busy = False


def main() -> None:
    """Runs the engine of the worker named on the command line."""
    name, channel_fd, parent_pid = sys.argv[1:]
    die_with(int(parent_pid))
    logs.configure("engine")
    from certrad.workers.engine import tasks  # the first import of torch takes seconds, in which the parent may die

    settings = WorkerSettings()
    tracing.configure("engine", enabled=settings.telemetry, in_background=True, headers=settings.telemetry_headers)
    with socket(fileno=int(channel_fd)) as channel:
        try:
            serve(JobPerformer(ENGINE_QUEUE, name=name, settings=settings), tasks.start, tasks.republish, channel)
        except SelfTestFailedError:  # the log and GET /health/workers say which check
            sys.exit(SELFTEST_FAILED)


if __name__ == "__main__":
    main()
