"""How many requests a tenant may send in a minute, and how many an address may send without a valid key."""

import math
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final, Literal

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.types import Scope

from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import PREFIX

Counted = Literal["submission", "request", "refusal"]
_ANY_URL: Final = "async+redis://"  # the connections are the service's own, whatever their address is


def network_of(scope: Scope) -> str:
    """Returns the network whose refusals are counted together: of IPv6 the /64, which one client has whole.

    Args:
        scope: The connection.
    """
    client = scope.get("client")
    if not client:
        return "unknown"
    try:
        address = ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


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

    async def count(self, counted: Counted, who: str) -> int | None:
        """Counts a request, and returns the seconds until the next one may come; None if this one is within the limit.

        Args:
            counted: What is counted.
            who: The tenant, or the network of a client.
        """
        item = self._limits[counted]
        try:
            if await self._limiter.hit(item, counted, who):
                return None
            reset, _ = await self._limiter.get_window_stats(item, counted, who)
        except RedisError:
            return None
        return max(1, math.ceil(reset - self._clock()))
