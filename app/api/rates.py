"""How many requests a tenant may send in a minute, and how many an address may send without a valid key."""

import math
import time
from collections.abc import Callable
from typing import Final, Literal

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import PREFIX

Counted = Literal["submission", "request", "refusal"]
_ANY_URL: Final = "async+redis://"  # the connections are the service's own, whatever their address is


class Rates:
    """The limits on the rate of requests; their counters are in Redis, for all processes of the API.

    A minute begins with the first request in it. Where Redis does not answer nothing is counted: then no request that
    needs it succeeds, and the others must not fail with it.
    """

    def __init__(self, redis: Redis, settings: ApiSettings, *, clock: Callable[[], float] = time.time) -> None:
        """Sets the limits.

        Args:
            redis: The job store.
            settings: The limits.
            clock: Seconds since 1970.
        """
        storage = RedisStorage(
            _ANY_URL,
            implementation="redispy",
            key_prefix=f"{PREFIX}:limits",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # as its documentation says
        )
        self._limiter = FixedWindowRateLimiter(storage)
        self._clock = clock
        self._limits = {
            "submission": RateLimitItemPerMinute(settings.submissions_per_minute),
            "request": RateLimitItemPerMinute(settings.requests_per_minute),
            "refusal": RateLimitItemPerMinute(settings.refusals_per_minute),
        }

    async def wait(self, counted: Counted, who: str) -> int | None:
        """Counts a request, and returns the seconds until the next one may come; None if this one is within the limit.

        Args:
            counted: What is counted.
            who: The tenant, or the address of a client.
        """
        item = self._limits[counted]
        try:
            if await self._limiter.hit(item, counted, who):
                return None
            reset, _ = await self._limiter.get_window_stats(item, counted, who)
        except RedisError:
            return None
        return max(1, math.ceil(reset - self._clock()))
