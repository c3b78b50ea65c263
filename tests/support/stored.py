"""The content of a Redis as values that can be compared: a dump depends on the order in which a hash lies in memory."""

from collections.abc import Callable
from typing import Final, cast

from redis import Redis

_READ: Final[dict[bytes, Callable[[Redis, bytes], object]]] = {
    b"string": lambda redis, key: redis.get(key),
    b"hash": lambda redis, key: redis.hgetall(key),
    b"list": lambda redis, key: redis.lrange(key, 0, -1),
    b"set": lambda redis, key: redis.smembers(key),
    b"zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
    b"stream": lambda redis, key: redis.xrange(key),
}


def stored_values(redis: Redis) -> dict[bytes, object]:
    """Returns key -> value of every key."""
    return {key: _READ[cast("bytes", redis.type(key))](redis, key) for key in redis.scan_iter()}
