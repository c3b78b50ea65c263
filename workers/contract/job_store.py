"""The memory of the job store: how much Redis uses, and how much it may use."""

from dataclasses import dataclass

from redis import Redis
from redis.exceptions import NoPermissionError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMemory:
    """The memory of Redis at one moment.

    Attributes:
        used: Bytes that count against the bound.
        bound: Bytes above which Redis refuses writes; None if it has no bound.
    """

    used: int
    bound: int | None

    def has_room(self, size: int, *, share: float) -> bool:
        """Returns whether so many bytes more leave the use at or below a share of the bound.

        Args:
            size: Bytes.
            share: Share of the bound, above 0 and up to 1.
        """
        return self.bound is None or self.used + size <= share * self.bound


def read_memory(redis: Redis) -> StoreMemory:
    """Returns the memory that Redis uses now; a Redis that does not allow to ask counts as one without a bound.

    Args:
        redis: The job store.

    Raises:
        RedisError: It does not answer.
    """
    try:
        memory = redis.info("memory")
    except NoPermissionError:
        return StoreMemory(used=0, bound=None)
    used = int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict", 0))
    return StoreMemory(used=used, bound=int(memory["maxmemory"]) or None)
