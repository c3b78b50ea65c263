"""Sessions of the page: a cookie in place of a key, because an EventSource sends no Authorization header.

Redis holds the SHA-256 of the cookie, the id of the key, and a code that only the digest of the key makes: whoever can
write Redis cannot make a session, and a session ends with its key.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final, cast

from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from starlette.responses import Response

from certrad.workers.contract.access_keys import AccessKey, AccessKeys
from certrad.workers.contract.names import session_key

COOKIE: Final = "certrad_session"
_COOKIE_BYTES: Final = 32


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
        """Returns the cookie of a new session.

        Args:
            key: The key that it stands for.

        Raises:
            RedisError: Redis does not answer.
        """
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        await self.redis.set(_place(cookie), f"{key.id} {_code(key, cookie)}", ex=self.seconds)
        return cookie

    async def key_of(self, cookie: str) -> AccessKey | None:
        """Returns the key in use that a session stands for; None if there is none.

        Args:
            cookie: What the browser sent.

        Raises:
            KeyFileError: The keys cannot be read.
            RedisError: Redis does not answer.
        """
        stored = cast("bytes | None", await self.redis.get(_place(cookie)))
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
        await self.redis.delete(_place(cookie))


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


def _place(cookie: str) -> str:
    return session_key(hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest())


def _code(key: AccessKey, cookie: str) -> str:
    message = b"certrad session/1\0" + cookie.encode("utf-8", "surrogateescape")
    return hmac.new(bytes.fromhex(key.sha256), message, hashlib.sha256).hexdigest()
