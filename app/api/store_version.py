"""Asks at the start of the API whether Redis holds data of a version that this release knows."""

import asyncio
import os
import sys
from typing import Final

import structlog
from fastapi.concurrency import run_in_threadpool
from redis import Redis
from redis.exceptions import RedisError

from certrad.workers.contract.data_version import DataVersionError, open_store

_PAUSE_SECONDS: Final = 0.2
_FIRST_SECONDS: Final = 1.0  # that the API waits for an answer before it serves

_log = structlog.get_logger()


async def begin_to_ask(redis: Redis) -> "asyncio.Task[None]":
    """Returns the task that asks until Redis answers; an answer that comes at once is there when this returns.

    An API serves without Redis, too, so it does not wait for one that is away. With data of another version the process
    ends, with the exit code of that case: it must not touch them.

    Args:
        redis: The job store.
    """
    task = asyncio.create_task(_ask(redis))
    await asyncio.wait({task}, timeout=_FIRST_SECONDS)
    return task


async def _ask(redis: Redis) -> None:
    logged = False
    while True:
        try:
            await run_in_threadpool(open_store, redis)
        except DataVersionError as error:
            sys.stderr.write(f"certrad: {error}\n")
            sys.stderr.flush()
            os._exit(error.code)  # an exception would only end this task
        except RedisError as error:
            if not logged:
                _log.warning("data version of redis not known yet", error=type(error).__name__)
            logged = True
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
