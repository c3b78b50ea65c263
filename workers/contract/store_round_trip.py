"""A value that is written to Redis, read back and deleted: the check `redis` of a self-test."""

import secrets
import time
from typing import Final

from redis import Redis

from certrad.workers.contract.names import selftest_key

_TTL_SECONDS: Final = 60


def round_trip(redis: Redis) -> str:
    """Writes, reads and deletes a random value.

    Args:
        redis: The job store.

    Returns:
        The seconds it took, as a sentence.

    Raises:
        ValueError: Another value came back, or it was not deleted.
        RedisError: Redis does not answer, or refuses.
    """
    key, value, began = selftest_key(f"probe:{secrets.token_hex(8)}"), secrets.token_hex(16), time.monotonic()
    redis.set(key, value, ex=_TTL_SECONDS)
    if redis.get(key) != value.encode():
        raise ValueError("Redis gave another value back than was written")
    if redis.delete(key) != 1:
        raise ValueError("Redis did not delete what was written")
    return f"written, read and deleted in {1000 * (time.monotonic() - began):.1f} ms"
