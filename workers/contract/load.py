"""The work that is left and the memory that engines use: what an installation is scaled by."""

import json
from collections.abc import Mapping
from typing import cast

from redis import Redis

from certrad.workers.contract.names import ACTIVE, ENGINE_MEMORY, record_key


def outstanding_samples(redis: Redis) -> int:
    """Returns the samples of active certificates that are not drawn yet.

    A certificate counts with all samples that it may take: one with a target radius may stop early. A tuning has no
    samples.

    Args:
        redis: The job store.
    """
    active = cast("list[bytes]", redis.zrange(ACTIVE, 0, -1))
    with redis.pipeline(transaction=False) as pipe:
        for job_id in active:
            pipe.hmget(record_key(job_id.decode()), "samples_total", "samples_done")
        progress = cast("list[list[bytes | None]]", pipe.execute())
    return sum(max(0, int(total) - int(done or 0)) for total, done in progress if total is not None)


def publish_memory(redis: Redis, engine: str, memory: Mapping[str, int]) -> None:
    """Makes the memory of an engine known.

    Args:
        redis: The job store.
        engine: Name of its worker.
        memory: Kind of memory -> bytes.
    """
    redis.hset(ENGINE_MEMORY, engine, json.dumps(memory))


def read_memory_of_engines(redis: Redis) -> dict[str, dict[str, int]]:
    """Returns the memory of every engine that has told it, of those that died since too: name -> kind -> bytes."""
    stored = cast("dict[bytes, bytes]", redis.hgetall(ENGINE_MEMORY))
    return {name.decode(): json.loads(memory) for name, memory in sorted(stored.items())}
