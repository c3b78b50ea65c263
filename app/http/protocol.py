"""HTTP/1.1 on one connection, as uvicorn speaks it, with limits of time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from certrad.app.api.middleware import SECURITY_HEADERS
from certrad.app.api.problems import problem_response
from certrad.app.api.request_log import note_refused
from certrad.app.http.connections import Connections

Stage = Literal["idle", "head", "body", "answer", "over"]
_PROBES: Final = frozenset({"/health/live", "/health/ready", "/health/workers"})
"""A watcher of the service must not take a busy one for a dead one."""
_TIMEOUT: Final = 408
_TIMEOUT_CODE: Final = "request_timeout"
_REASON: Final = b"Request Timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """The time that a client may take.

    Attributes:
        head: Seconds for the headers of a request.
        stall: Seconds over which the rate of a body is taken, or that a client may read nothing.
        body_rate: Bytes a second that a body must bring on average.
    """

    head: float
    stall: float
    body_rate: int


class LimitedProtocol(H11Protocol):
    """Answers 408 to a request that comes too slowly, and closes the connection of a client that does not read.

    uvicorn itself limits only the time between two requests. The time in which the service does not take what the
    client sends does not count against the client.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: TimeLimits,
        connections: Connections,
        log_refused: Callable[[int, tuple[str, int] | None, Scope | None], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._connections = connections
        self._log_refused = log_refused
        self._inner = cast("ASGIApp", self.app)
        self.app = cast("Any", self._serve)
        self._stage: Stage = "idle"
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._received = 0  # bytes since the rate was taken last
        self._last_byte_at = 0.0
        self._held_back = False  # since the rate was taken last, the service did not read for a while

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Starts the time of the first request's headers."""
        super().connection_made(transport)
        self._enter("head")
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends every timer."""
        self._enter("over")
        self._stop_write_timer()
        self._connections.close(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the client, which may end the headers or the body."""
        self._received += len(data)
        self._last_byte_at = self.loop.time()
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Waits for the next request, which may have come already."""
        self._connections.end(self)
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no request, and logs that it came."""
        self._log_refused(400, self.client, None)
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Starts the time in which the client must read something."""
        super().pause_writing()
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(
            self._limits.stall, self._check_reader, self.transport.get_write_buffer_size()
        )

    def resume_writing(self) -> None:
        """Ends that time."""
        self._stop_write_timer()
        super().resume_writing()

    def stalled(self) -> float:
        """Returns the seconds since the last byte of a body that is due; 0 if none is due."""
        due = self._stage == "body" and not self._is_held_back()
        return self.loop.time() - self._last_byte_at if due else 0.0

    def drop(self) -> None:
        """Closes the connection at once."""
        self._disconnect()
        self.transport.abort()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = self.cycle
        if scope["path"] in _PROBES:
            await self._inner(scope, receive, send)
        elif self._connections.begin(self):
            try:
                await self._inner(scope, receive, send)
            finally:
                if self.cycle is cycle:  # else the next request of this connection has begun
                    self._connections.end(self)
        else:
            cycle.keep_alive = False
            response = problem_response("too_many_connections")
            self._log_refused(response.status_code, self.client, scope)
            await response(scope, receive, send)

    def _watch(self) -> None:
        """Starts the timer of the stage that the connection is in now, unless that stage goes on."""
        stage = self._current_stage()
        if stage != self._stage:
            self._enter(stage)
        if stage == "body" and self._is_held_back():
            self._held_back = True

    def _current_stage(self) -> Stage:
        if self.transport.is_closing():
            return "over"
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return "body"
        if state is not h11.IDLE:
            return "answer"
        # uvicorn closes a connection that is idle between two requests.
        return "head" if self._stage == "head" or self.conn.trailing_data[0] else "idle"

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        if stage == "head":
            self._read_timer = self.loop.call_later(self._limits.head, self._time_out)
        elif stage == "body":
            self._start_rate_period()

    def _start_rate_period(self) -> None:
        self._received = 0
        self._held_back = self._is_held_back()
        self._read_timer = self.loop.call_later(self._limits.stall, self._check_rate)

    def _check_rate(self) -> None:
        enough = self._received >= self._limits.body_rate * self._limits.stall
        if enough or self._held_back or self._is_held_back():
            self._start_rate_period()
        else:
            self._time_out()

    def _is_held_back(self) -> bool:
        """Returns whether the client cannot send: the service reads nothing, or has not asked for the body yet."""
        return self.flow.read_paused or self.conn.they_are_waiting_for_100_continue

    def _time_out(self) -> None:
        """Closes the connection, after a 408 if part of a request has come and nothing was answered."""
        if self.transport.is_closing():
            return
        begun = bool(self.conn.trailing_data[0]) if self._stage == "head" else not self.cycle.response_started
        if begun and self._stage == "head":
            self._log_refused(_TIMEOUT, self.client, None)
        elif begun:
            note_refused(cast("Scope", self.cycle.scope), _TIMEOUT, _TIMEOUT_CODE)  # the application writes the line
        self._disconnect()
        if begun and not self.transport.get_write_buffer_size():
            self.transport.write(_timeout_response())
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read: what it was sent would keep the connection open
        else:
            self.transport.close()

    def _disconnect(self) -> None:
        """Lets the application know that nothing more comes, and that nobody waits for its response."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _check_reader(self, left: int) -> None:
        now_left = self.transport.get_write_buffer_size()
        if now_left < left:
            self._write_timer = self.loop.call_later(self._limits.stall, self._check_reader, now_left)
        else:
            self.drop()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _timeout_response() -> bytes:
    response = problem_response(_TIMEOUT_CODE, headers={"Connection": "close", **SECURITY_HEADERS})
    lines = [b"HTTP/1.1 408 " + _REASON, *(name + b": " + value for name, value in response.raw_headers), b"", b""]
    return b"\r\n".join(lines) + bytes(response.body)
