"""`certrad worker`: one worker process."""

import importlib
import os
import sys
from argparse import Namespace
from typing import Final

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, REDIS_AWAY, SELFTEST_FAILED, fail
from certrad.workers.contract.names import ARCHIVE_QUEUE, ENGINE_QUEUE, FORMER_ENGINE_QUEUE, INTAKE_QUEUE
from certrad.workers.contract.option_kinds import choice

IMPORTED_BEFORE_FORKS: Final = (
    "certrad.workers.intake.tasks",
    "certrad.workers.issue",
    "numpy.ma",
    *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff")),
)
"""What tasks and decoders need, numpy's and Pillow's late imports included; else each process would import it again."""


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument(
        "queue",
        choice(INTAKE_QUEUE, ARCHIVE_QUEUE, ENGINE_QUEUE, FORMER_ENGINE_QUEUE),
        "queue to serve; gpu is the old name of engine",
    )
    add_data_dir(parser)


def run(options: Namespace) -> int:
    """Runs one worker until a signal or command stops it; a worker that ends by itself has failed.

    One that could not sign off ends with `REDIS_AWAY`: it is to be started again. One that, or whose engine, did not
    pass its self-test ends with `SELFTEST_FAILED`, and has taken no job.

    Returns:
        The exit code.
    """
    if options.data_dir is not None:  # for this process and the engine that it starts
        os.environ["CERTRAD_DATA_DIR"] = str(options.data_dir.resolve())
    from redis.exceptions import ConnectionError, ResponseError, TimeoutError

    from certrad.models.installed import CardError
    from certrad.workers.connection import connect
    from certrad.workers.contract import logs, tracing
    from certrad.workers.contract.audit import open_trail, recorded_run
    from certrad.workers.contract.data_version import open_directory, open_store
    from certrad.workers.contract.waiting import refuses_writes, tell_if_redis_is_away
    from certrad.workers.engine.worker import EngineWorker
    from certrad.workers.environment import ONE_THREAD
    from certrad.workers.queue import stopping
    from certrad.workers.queue.worker import IntakeWorker, QueueWorker, worker_name
    from certrad.workers.settings import WorkerSettings

    queue = options.queue
    if queue == FORMER_ENGINE_QUEUE:
        sys.stderr.write("certrad: the queue `gpu` is now called `engine`; the next release drops the old name\n")
        queue = ENGINE_QUEUE
    logs.configure(queue)
    settings = WorkerSettings()
    tell_if_redis_is_away(settings)
    open_directory(settings.data_dir)
    name, redis = worker_name(queue), connect(settings, is_stopping=stopping.requested)
    worker: QueueWorker
    try:
        open_store(redis)
        if queue == ENGINE_QUEUE:
            worker = EngineWorker(queue, name=name, redis=redis, settings=settings)
        else:
            os.environ |= ONE_THREAD
            from certrad.workers.intake.selftest import passes_at_start
            from certrad.workers.reports.renderers import prepare

            for module in IMPORTED_BEFORE_FORKS:
                importlib.import_module(module)
            if queue == INTAKE_QUEUE:
                prepare()
            tracing.configure(
                queue, enabled=settings.telemetry, in_background=False, headers=settings.telemetry_headers
            )
            if not passes_at_start(queue, settings, redis):
                return SELFTEST_FAILED
            kind = IntakeWorker if queue == INTAKE_QUEUE else QueueWorker
            worker = kind(queue, name=name, redis=redis, settings=settings)
        with recorded_run(open_trail(settings, redis), queue):
            worker.work()
    except (CardError, tracing.TelemetryMissingError) as error:
        return fail(str(error), BAD_USAGE)
    except (ConnectionError, TimeoutError, ResponseError) as error:
        if isinstance(error, ResponseError) and not refuses_writes(error):
            raise
        sys.stderr.write(f"certrad: the worker ends without Redis ({type(error).__name__})\n")
        return DONE if stopping.requested() else REDIS_AWAY
    return DONE if worker.stop_requested else worker.failure_code
