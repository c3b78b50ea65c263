"""`certrad worker-health`: whether the worker of this machine works, for the probe of a container."""

import sys
from argparse import Namespace

from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.contract.names import ARCHIVE_QUEUE, ENGINE_QUEUE, INTAKE_QUEUE
from certrad.workers.contract.option_kinds import choice

_TIMEOUT_SECONDS = 5.0


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("queue", choice(INTAKE_QUEUE, ARCHIVE_QUEUE, ENGINE_QUEUE), "queue that the worker serves")


def run(options: Namespace) -> int:
    """Asks Redis for the last heartbeat of this machine's workers on the queue.

    A Redis that does not answer says nothing about the worker, which waits for it: that is no failure.

    Returns:
        The exit code.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    from certrad.workers.contract.redis_access import redis_options
    from certrad.workers.queue.heartbeats import longest_silence, silence
    from certrad.workers.settings import WorkerSettings

    settings = WorkerSettings()
    try:
        with Redis.from_url(
            **redis_options(settings),
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as redis:
            silent = silence(redis, options.queue)
    except RedisError as error:
        sys.stderr.write(
            f"certrad: Redis does not answer ({type(error).__name__}), so nothing is known of the worker\n"
        )
        return DONE
    if silent is None:
        return fail(f"this machine has no worker on the queue {options.queue}", FAILURE)
    if silent > longest_silence(settings.heartbeat_seconds):
        return fail(f"the last heartbeat of the worker was {round(silent)} s ago", FAILURE)
    return DONE
