"""The memory that each engine uses."""

import json
from collections.abc import Mapping
from typing import cast

from redis import Redis

from certrad.workers.contract.names import ENGINE_MEMORY


def publish_memory(redis: Redis, engine: str, memory: Mapping[str, int]) -> None:
    """Makes the memory of an engine known.

    Args:
        redis: The job store.
        engine: Name of its worker.
        memory: Kind of memory -> bytes.
    """
    redis.hset(ENGINE_MEMORY, engine, json.dumps(memory))


def read_memory_of_engines(redis: Redis) -> dict[str, dict[str, int]]:
    """Returns the memory of every engine that published it, of those that died since too: name -> kind -> bytes."""
    stored = cast("dict[bytes, bytes]", redis.hgetall(ENGINE_MEMORY))
    return {name.decode(): json.loads(memory) for name, memory in sorted(stored.items())}
