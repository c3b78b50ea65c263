"""Time stamps of issued certificates: intake asks the operator's authority (RFC 3161) and stores what verifies.

No certificate waits for a stamp. Those without one wait in Redis for the next maintenance.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import httpx
import structlog
from redis import Redis

from certrad.models.certificates.time_stamp import (
    MAX_RESPONSE_BYTES,
    MEDIA_TYPE,
    Query,
    TimeStampError,
    TimeStampTrust,
    latest_time,
    query,
)
from certrad.models.errors import Rejected
from certrad.workers.certificate_store import store_time_stamp
from certrad.workers.contract.certificate_files import path, read_time_stamp
from certrad.workers.contract.names import STAMPING, UNSTAMPED
from certrad.workers.sandbox.child import SandboxError, run_limited
from certrad.workers.settings import WorkerSettings

Ask = Callable[[Query], bytes]

_MEMORY_BYTES: Final = 256 << 20
_CPU_SECONDS: Final = 10
_PAUSE_SECONDS: Final = 60
_AT_ONCE: Final = 20
_MAX_REASON: Final = 200
_log = structlog.get_logger()


def want_time_stamp(redis: Redis, settings: WorkerSettings, sha256: str) -> None:
    """Notes that a certificate needs a time stamp, if this installation has an authority and it has none yet.

    Args:
        redis: The job store.
        settings: The authority and the store.
        sha256: SHA-256 of the document.
    """
    if settings.tsa_url is not None and read_time_stamp(settings.certificates_dir, sha256) is None:
        redis.sadd(UNSTAMPED, sha256)


def stamp(redis: Redis, settings: WorkerSettings, sha256: str, ask: Ask | None = None) -> bool:
    """Asks for the time stamp of a certificate and stores it; a failure is logged and nothing else.

    Args:
        redis: The job store, which knows the certificates that wait for a stamp.
        settings: The authority and the store.
        sha256: SHA-256 of a stored document.
        ask: Returns the response to a query; None for the authority of the settings.

    Returns:
        Whether the certificate waits no more.
    """
    if not redis.sismember(UNSTAMPED, sha256):
        return True
    signature = _signature(settings, sha256)
    try:
        if signature is None:
            raise TimeStampError("the document is not in this store, or it is damaged")
        asked = query(signature)
        response = (ask or partial(_ask, settings))(asked)
        proven = read_limited(response, signature, trust_of(settings), hidden=settings.data_dir, nonce=asked.nonce)
        store_time_stamp(settings.certificates_dir, sha256, response)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # the words of these may name the address
        reason = f"the authority or the disk failed: {type(error).__name__}"
    except TimeStampError as error:
        reason = str(error)
    else:
        redis.srem(UNSTAMPED, sha256)
        _log.info("certificate time stamped", sha256=sha256, proven=proven.isoformat())
        return True
    _log.warning("certificate has no time stamp", sha256=sha256, reason=reason)
    return False


def stamp_waiting(redis: Redis, settings: WorkerSettings, ask: Ask | None = None) -> None:
    """Requests the stamps of certificates that have none, and stops at the first failure.

    Of all processes, one does so at most once a minute.

    Args:
        redis: The job store.
        settings: The authority and the store.
        ask: As of `stamp`.
    """
    if settings.tsa_url is None or not settings.certificates_dir.exists():
        return
    if not redis.scard(UNSTAMPED) or not redis.set(STAMPING, 1, nx=True, ex=_PAUSE_SECONDS):
        return
    waiting = cast("list[bytes]", redis.srandmember(UNSTAMPED, _AT_ONCE))
    for sha256 in sorted(each.decode() for each in waiting):
        if _signature(settings, sha256) is not None and not stamp(redis, settings, sha256, ask):
            return


def trust_of(settings: WorkerSettings) -> TimeStampTrust:
    """Returns the authorities that the operator trusts.

    Raises:
        OSError: Their certificates cannot be read.
        TimeStampError: None are configured.
    """
    if settings.tsa_certificates is None:
        raise TimeStampError("CERTRAD_TSA_CERTIFICATES must name the certificates of the authority")
    return TimeStampTrust(certificates=settings.tsa_certificates.read_bytes(), policy=settings.tsa_policy)


def read_limited(
    response: bytes, signature: bytes, trust: TimeStampTrust, *, hidden: Path, nonce: int | None = None
) -> datetime:
    """Returns the latest time of a signature that a response proves, read in a sandbox.

    Args:
        response: The response of an authority.
        signature: The 64 bytes of the signature.
        trust: Who is believed.
        hidden: The directory of which the sandbox opens nothing.
        nonce: That of the query, if the response is to a query of one's own.

    Raises:
        TimeStampError: It proves nothing.
    """

    def check() -> tuple[dict[str, Any], bytes]:
        try:
            return {"proven": latest_time(response, signature, trust, nonce=nonce).isoformat()}, b""
        except TimeStampError as error:
            return {"refused": str(error)}, b""

    try:
        answer = run_limited(
            check, memory_bytes=_MEMORY_BYTES, cpu_seconds=_CPU_SECONDS, max_payload=0, hidden=hidden
        ).header
    except (Rejected, SandboxError):
        answer = {}
    match answer:
        case {"proven": str(proven)}:
            with suppress(ValueError):
                return datetime.fromisoformat(proven)
        case {"refused": str(reason)}:
            raise TimeStampError(reason[:_MAX_REASON])
    raise TimeStampError("the response of the authority cannot be read")


def _signature(settings: WorkerSettings, sha256: str) -> bytes | None:
    """Returns the signature of a stored document; None if the document is not here, or cannot be read."""
    try:
        document: dict[str, Any] = json.loads(path(settings.certificates_dir, sha256, "document").read_bytes())
        return bytes.fromhex(document["signature"]["value"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _ask(settings: WorkerSettings, asked: Query) -> bytes:
    """Returns the authority's response, which nothing has checked yet.

    Raises:
        httpx.HTTPError: There is none in time.
        TimeStampError: It is none, or too long.
    """
    headers = {"Content-Type": "application/timestamp-query", "Accept": MEDIA_TYPE}
    content, deadline = b"", time.monotonic() + settings.tsa_timeout
    with httpx.stream(
        "POST", str(settings.tsa_url), content=asked.content, headers=headers, timeout=settings.tsa_timeout
    ) as response:
        response.raise_for_status()
        if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise TimeStampError("the authority answers with something else than a time stamp")
        for part in response.iter_raw():
            content += part
            if len(content) > MAX_RESPONSE_BYTES or time.monotonic() > deadline:
                raise TimeStampError("the response of the authority is too long or too slow")
    return content
