"""Sends one message: to an address that was resolved once, under the name that was meant, within one time limit."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from certrad.workers.callbacks.addresses import ConnectionRefusedByRuleError, Resolve, open_addresses, resolve
from certrad.workers.callbacks.message import Message
from certrad.workers.contract.callbacks import CallbackAddress, CallbackHosts

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
_MOST_RETRY_AFTER: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The end of an attempt.

    Attributes:
        delivered: Whether the receiver has taken the message.
        retryable: Whether it is worth another attempt.
        answered: Whether any answer came.
        reason: A code of what went wrong.
        retry_after: Seconds that the receiver wants to be left alone.
    """

    delivered: bool = False
    retryable: bool = False
    answered: bool = True
    reason: str = ""
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Sends messages.

    Attributes:
        hosts: The operator's list.
        tls: How certificates are checked.
        seconds: The time that one attempt has, from the connection to the first line of the answer.
        resolver: Returns the addresses of a host.
    """

    hosts: CallbackHosts
    tls: ssl.SSLContext
    seconds: float
    resolver: Resolve = resolve

    def send(self, text: str, message: Message, *, now: float) -> Answer:
        """Sends a message and returns how that ended; it never raises for what the other side does.

        Args:
            text: The address.
            message: What to send.
            now: Seconds since 1970.
        """
        try:
            address = CallbackAddress.read(text)
        except ValueError:
            return Answer(reason="no_address")
        if not self.hosts.allows(address):
            return Answer(reason="host_not_listed")
        try:
            found = open_addresses(address.origin, self.hosts, self.resolver)
            return asyncio.run(self._post(address, found, message, now))
        except ConnectionRefusedByRuleError:
            return Answer(reason="closed_address")
        except TimeoutError:
            return Answer(retryable=True, answered=False, reason="too_slow")
        except httpx.HTTPError as error:
            return Answer(retryable=True, answered=False, reason=_reason(error))
        except OSError:  # of the resolver
            return Answer(retryable=True, answered=False, reason="not_resolved")

    async def _post(self, address: CallbackAddress, found: list[str], message: Message, now: float) -> Answer:
        """Returns the answer of the first of some IP addresses that takes a connection.

        Raises:
            TimeoutError: There is none in time.
            httpx.HTTPError: None takes one, or it ends before there is an answer.
        """
        limits = httpx.Timeout(self.seconds, connect=self.seconds / (len(found) + 1))
        async with asyncio.timeout(self.seconds):
            # No proxy of the environment, no redirect: both would lead elsewhere than the list says.
            async with httpx.AsyncClient(verify=self.tls, timeout=limits, trust_env=False) as http:
                for ip in found[:-1]:
                    try:
                        return await _post_to(http, address, ip, message, now)
                    except (httpx.ConnectError, httpx.ConnectTimeout):
                        continue
                return await _post_to(http, address, found[-1], message, now)


async def _post_to(http: httpx.AsyncClient, address: CallbackAddress, ip: str, message: Message, now: float) -> Answer:
    """Posts the message to an IP address under the host's name (TLS, certificate, `Host`), and returns the answer."""
    origin = address.origin
    url = httpx.URL(scheme=origin.scheme, host=ip, port=origin.port, raw_path=address.target.encode())
    request = http.build_request(
        "POST",
        url,
        content=message.content,
        headers={**message.headers, "host": origin.netloc},
        extensions={"sni_hostname": origin.host},
    )
    response = await http.send(request, stream=True, follow_redirects=False)
    try:
        return _answer_of(response, now)
    finally:
        await response.aclose()  # the body is never read


def _answer_of(response: httpx.Response, now: float) -> Answer:
    if response.is_success:
        return Answer(delivered=True)
    retryable = response.status_code in RETRYABLE_STATUSES or response.is_server_error
    return Answer(
        retryable=retryable,
        reason=f"http_{response.status_code}",
        retry_after=_retry_after(response.headers.get("retry-after", ""), now) if retryable else 0.0,
    )


def _retry_after(text: str, now: float) -> float:
    """Returns the seconds that a header Retry-After asks for, at most a day; 0 for what is none."""
    try:
        seconds = float(text) if text.isdecimal() else _moment(text) - now
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _MOST_RETRY_AFTER)


def _moment(text: str) -> float:
    at = parsedate_to_datetime(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _reason(error: httpx.HTTPError) -> str:
    """Returns the code of a fault below HTTP."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "tls"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "not_reached"
    return "too_slow" if isinstance(error, httpx.TimeoutException) else "broken_off"
