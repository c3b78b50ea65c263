"""Sessions of the page: a cookie in place of a key, because an EventSource sends no Authorization header.

Redis holds the SHA-256 of the cookie, the id of the key, and a code that only the digest of the key makes: whoever can
write Redis cannot make a session, and a session ends with its key.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from starlette.responses import Response

from certrad.workers.contract.access_keys import AccessKey, AccessKeys
from certrad.workers.contract.names import session_key, sessions_of

COOKIE: Final = "certrad_session"
MOST_SESSIONS: Final = 20
"""Sessions of one key; another one ends the oldest."""

_COOKIE_BYTES: Final = 32

# KEYS session, sessions of its key; ARGV value, seconds, SHA-256 of the cookie, most sessions
_START: Final = f"""
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local now = redis.call('TIME')
redis.call('ZADD', KEYS[2], string.format('%d.%06d', now[1], now[2]), ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
for _, oldest in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1 - tonumber(ARGV[4]))) do
  redis.call('ZREM', KEYS[2], oldest)
  redis.call('DEL', '{session_key("")}' .. oldest)
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """The sessions of an installation.

    Attributes:
        redis: The job store.
        keys: The keys.
        seconds: Seconds after which a session ends.
    """

    redis: Redis
    keys: AccessKeys
    seconds: int

    async def start(self, key: AccessKey) -> str:
        """Returns the cookie of a new session; the oldest one of the key ends if it has more than `MOST_SESSIONS`.

        Args:
            key: The key that it stands for.

        Raises:
            RedisError: Redis does not answer.
        """
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        sha256, value = _sha256(cookie), f"{key.id} {_code(key, cookie)}"
        places = (session_key(sha256), sessions_of(key.id))
        await cast("Any", self.redis.eval(_START, 2, *places, value, str(self.seconds), sha256, str(MOST_SESSIONS)))
        return cookie

    async def key_of(self, cookie: str) -> AccessKey | None:
        """Returns the key in use that a session stands for; None if there is none.

        Args:
            cookie: What the browser sent.

        Raises:
            KeyFileError: The keys cannot be read.
            RedisError: Redis does not answer.
        """
        stored = cast("bytes | None", await self.redis.get(session_key(_sha256(cookie))))
        key_id, _, code = (stored or b"").decode("ascii", "replace").partition(" ")
        key = self.keys.live(key_id)
        return key if key is not None and hmac.compare_digest(code.encode(), _code(key, cookie).encode()) else None

    async def end(self, cookie: str) -> None:
        """Ends a session.

        Args:
            cookie: What the browser sent.

        Raises:
            RedisError: Redis does not answer.
        """
        sha256 = _sha256(cookie)
        stored = cast("bytes | None", await self.redis.getdel(session_key(sha256)))
        if stored is not None:
            key_id = stored.decode("ascii", "replace").partition(" ")[0]
            await cast("Any", self.redis.zrem(sessions_of(key_id), sha256))


def set_cookie(request: HTTPConnection, response: Response, cookie: str, seconds: int) -> None:
    """Gives the browser its cookie, which no script reads and no other site sends.

    Args:
        request: The request; a cookie of https is sent over https only.
        response: The response.
        cookie: The cookie.
        seconds: Seconds after which the browser forgets it; 0: at once.
    """
    response.set_cookie(
        COOKIE, cookie, max_age=seconds, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )


def _sha256(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()


def _code(key: AccessKey, cookie: str) -> str:
    message = b"certrad session/1\0" + cookie.encode("utf-8", "surrogateescape")
    return hmac.new(bytes.fromhex(key.sha256), message, hashlib.sha256).hexdigest()
