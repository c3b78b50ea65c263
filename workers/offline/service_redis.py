"""The Redis of a service that may run on the same data directory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import ConnectionError

from certrad.workers.contract.data_version import require_store
from certrad.workers.contract.redis_access import redis_options
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import StackSettings


@contextmanager
def running_redis(settings: StackSettings, *, otherwise: str) -> Iterator[Redis]:
    """Yields a client of the named Redis, else of the one that `up` runs on the same data directory.

    Args:
        settings: The settings of the data directory.
        otherwise: The message if no service runs; the body then ends at its first command to Redis.
    """
    options = redis_options(settings)
    if "redis_url" not in settings.model_fields_set:
        options["url"] = EmbeddedRedis(settings.data_dir.resolve() / "redis").url
    try:
        with Redis.from_url(**options) as redis:
            with suppress(ConnectionError):  # the body meets the same fault at its first command
                require_store(redis)
            yield redis
    except ConnectionError:
        sys.stderr.write(f"certrad: no service runs here; {otherwise}\n")
