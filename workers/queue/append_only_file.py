"""Rewrites the append-only file of Redis while no job is active: it still holds the pixels of jobs that have ended."""

import time
from collections.abc import Callable, Mapping
from typing import Final, cast

import structlog
from redis import Redis
from redis.exceptions import ResponseError

from certrad.workers.contract.names import ACTIVE, JOBS, PREFIX, REWRITTEN

_ASKED_AT: Final = f"{PREFIX}:rewritten:asked"  # time of the last request for a rewrite
_PAUSE_SECONDS: Final = 300.0  # a rewrite writes all that Redis holds
_MOST_GROWTH_BYTES: Final = 64 << 20

_log = structlog.get_logger()


def rewrite_when_idle(redis: Redis, *, clock: Callable[[], float] = time.time) -> bool:
    """Requests a rewrite if no job is active and the file may hold deleted inputs.

    It may hold some if a job was created or erased since the last request, the file grew by 64 MiB, or the last rewrite
    failed. A rewrite is requested at most every five minutes. A Redis without such a file, and one that does not allow
    the rewrite, are left alone.

    Args:
        redis: The job store.
        clock: Seconds since 1970.

    Returns:
        Whether a rewrite was requested.
    """
    with redis.pipeline(transaction=True) as snapshot:
        snapshot.mget(_ASKED_AT, REWRITTEN)
        snapshot.zrange(JOBS, 0, 0, desc=True, withscores=True)
        snapshot.zcard(ACTIVE)
        (asked_at, up_to), newest, active = snapshot.execute()
    now, newest_at = clock(), newest[0][1] if newest else 0.0
    if active or now - float(asked_at or 0) < _PAUSE_SECONDS:
        return False
    try:
        facts = cast("Mapping[str, object]", redis.info("persistence"))
        has_new = up_to is None or float(up_to) < newest_at
        if not _can_rewrite(facts) or not (has_new or _needs_rewrite(facts)):
            return False
        redis.mset({_ASKED_AT: now, REWRITTEN: newest_at})
        redis.bgrewriteaof()
    except ResponseError as error:
        _log.warning("append-only file not rewritten", error=type(error).__name__)
        return False
    _log.info("rewrite of append-only file requested", bytes=_bytes(facts, "aof_current_size"))
    return True


def _can_rewrite(facts: Mapping[str, object]) -> bool:
    """Returns whether Redis keeps an append-only file and no process of it writes already."""
    running = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress", "loading")
    return bool(facts.get("aof_enabled")) and not any(facts.get(name) for name in running)


def _needs_rewrite(facts: Mapping[str, object]) -> bool:
    failed = facts.get("aof_last_bgrewrite_status") not in ("ok", None)
    return failed or _bytes(facts, "aof_current_size") - _bytes(facts, "aof_base_size") >= _MOST_GROWTH_BYTES


def _bytes(facts: Mapping[str, object], name: str) -> int:
    return int(cast("int", facts.get(name, 0)))
