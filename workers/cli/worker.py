"""`certrad worker`: one worker process."""

import importlib
import os
from argparse import Namespace

from certrad.workers.contract.arguments import Parser, choice
from certrad.workers.contract.commands import DONE, FAILURE
from certrad.workers.contract.names import GPU_QUEUE, INTAKE_QUEUE


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("queue", choice(INTAKE_QUEUE, GPU_QUEUE), "queue to serve")


def run(options: Namespace) -> int:
    """Runs one worker until it is told to stop; one that ends unasked has failed."""
    from certrad.workers import logs
    from certrad.workers.connection import connect
    from certrad.workers.contract.waiting import tell_if_redis_is_away
    from certrad.workers.engine.worker import ResidentWorker
    from certrad.workers.environment import ONE_THREAD
    from certrad.workers.queue.worker import IntakeWorker, worker_name
    from certrad.workers.settings import WorkerSettings

    logs.configure(options.queue)
    settings = WorkerSettings()
    tell_if_redis_is_away(settings.redis_url)
    name, redis = worker_name(options.queue), connect(settings.redis_url)
    worker: ResidentWorker | IntakeWorker
    if options.queue == GPU_QUEUE:
        worker = ResidentWorker(options.queue, name=name, redis=redis, settings=settings)
    else:
        os.environ |= ONE_THREAD
        importlib.import_module("certrad.workers.intake.tasks")  # once, before every fork
        worker = IntakeWorker(options.queue, name=name, redis=redis, settings=settings)
    worker.work()
    return DONE if worker.stop_was_asked else FAILURE
