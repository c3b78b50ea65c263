"""Measures the API under load while certificates run: polls, uploads at once, event streams, and its memory.

    python -m certrad.bench load
    python -m certrad.bench load --closed

It starts `certrad up` in a folder of its own, lowers the priority of its engine (nice 10), and keeps certificates
under way. With `--closed` access is closed, as on every address but loopback: each request has a key, which is
checked, and counts against the limits of its tenant, which are raised so that none is refused. The client is one
process of plain sockets on the same machine, so that it takes processor time as well.
"""

import argparse
import asyncio
import io
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image

from certrad.bench.common.machine import Machine, this_machine
from certrad.bench.common.own_service import own_service
from certrad.workers.contract.access import LOCAL_TENANT, SCOPES
from certrad.workers.contract.access_keys import AccessKeys

_CONNECTIONS: Final = 8
_NICE: Final = 10
_RUNNING: Final = "/certify?adaptation=none&prompt=template&sigma=0.5&n0=100&n=100000"
_SMALL: Final = "/certify?adaptation=none&prompt=template&sigma=0.5&n0=64&n=64"
_ANSWER_SECONDS: Final = 120.0
_NO_LIMIT: Final = "100000000"
_CLOSED: Final = {
    "CERTRAD_ACCESS": "closed",
    "CERTRAD_REQUESTS_PER_MINUTE": _NO_LIMIT,
    "CERTRAD_SUBMISSIONS_PER_MINUTE": _NO_LIMIT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was measured.

    polls_per_second: status polls of eight connections that each ask again at once, while a certificate runs.
    poll_ms: their median, 99th percentile and longest. uploads: answers to uploads sent at once, by status and code;
    `dropped` are those without an answer. grown_mb: memory of the API after so many requests more than before.
    streams: event streams that were open at once and told something. first_event_ms: the longest wait for that.
    is_closed: whether access was closed, so that each request had a key and was counted.
    """

    polls_per_second: float
    poll_ms: tuple[float, float, float]
    uploads: Mapping[str, int]
    requests: int
    grown_mb: float
    streams: int
    first_event_ms: float
    is_closed: bool
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--seconds", type=float, default=20.0, help="of polling")
    parser.add_argument("--uploads", type=int, default=200, help="sent at once")
    parser.add_argument("--requests", type=int, default=10_000, help="between the two looks at the memory")
    parser.add_argument("--streams", type=int, default=200, help="open at once")
    parser.add_argument("--closed", action="store_true", help="close access: keys are checked and requests counted")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    settings = _CLOSED if arguments.closed else {}
    with tempfile.TemporaryDirectory() as folder, own_service(Path(folder), settings) as url:
        target = Target.of(url, key=_new_key(Path(folder)) if arguments.closed else None)
        for process in _processes(folder, "certrad.workers.engine.process"):
            process.nice(_NICE)
        (api,) = _processes(folder, "certrad.app.http.server")
        figures = asyncio.run(_measure(target, api, arguments, machine))
    print(json.dumps(asdict(figures), indent=2) if arguments.json else as_text(figures))


def as_text(figures: Load) -> str:
    """The figures for reading."""
    median, late, longest = figures.poll_ms
    answers = ", ".join(f"{count} x {answer}" for answer, count in sorted(figures.uploads.items()))
    return "\n".join(
        (
            f"access is {'closed' if figures.is_closed else 'open'}",
            f"{figures.polls_per_second:.0f} status polls/s while a certificate runs: median {median:.1f} ms, "
            f"p99 {late:.1f} ms, longest {longest:.1f} ms",
            f"{sum(figures.uploads.values())} uploads at once: {answers}",
            f"memory of the API after {figures.requests} requests: {figures.grown_mb:+.1f} MB",
            f"{figures.streams} event streams at once, the first event after {figures.first_event_ms:.0f} ms at most",
            f"  {figures.machine}",
        )
    )


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service listens, and the API key for it, if it wants one."""

    host: str
    port: int
    key: str | None

    @classmethod
    def of(cls, url: str, *, key: str | None) -> "Target":
        """Returns the target of an address."""
        parts = urlsplit(url)
        return cls(str(parts.hostname), int(parts.port or 80), key)


class Connection:
    """One connection that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str | None) -> None:
        self._reader = reader
        self._writer = writer
        self._authorization = f"Authorization: Bearer {key}\r\n" if key else ""

    @classmethod
    async def open(cls, target: Target) -> "Connection":
        """Returns a new connection."""
        return cls(*await asyncio.open_connection(target.host, target.port), target.key)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Returns status and body of an answer."""
        await self._send(method, path, body)
        status, headers = await self._head()
        return status, await self._reader.readexactly(int(headers.get("content-length", "0")))

    async def first_event(self, path: str) -> bool:
        """Opens an event stream, and returns whether it tells something; the stream stays open."""
        await self._send("GET", path, b"")
        status, _ = await self._head()
        return status == 200 and bool(await self._reader.readuntil(b"\n\n"))

    def close(self) -> None:
        """Closes it."""
        self._writer.close()

    async def _send(self, method: str, path: str, body: bytes) -> None:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._authorization}"
            f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n"
        )
        self._writer.write(f"{head}\r\n".encode() + body)
        await self._writer.drain()

    async def _head(self) -> tuple[int, dict[str, str]]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(":", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, value in pairs}


async def _measure(target: Target, api: psutil.Process, arguments: argparse.Namespace, machine: Machine) -> Load:
    connection = await Connection.open(target)
    await _poll(target, await _submit(connection, _SMALL), 1.0)  # what the first requests make stays
    job = await _submit(connection, _RUNNING)
    times = await _poll(target, job, arguments.seconds)
    first_events = await _streams(target, job, arguments.streams)
    before = api.memory_info().rss
    await _requests(target, job, arguments.requests)
    grown = api.memory_info().rss - before
    uploads = await _uploads(target, arguments.uploads)
    connection.close()
    ordered = sorted(times)
    return Load(
        polls_per_second=len(times) / arguments.seconds,
        poll_ms=(statistics.median(ordered), ordered[int(0.99 * len(ordered))], ordered[-1]),
        uploads=uploads,
        requests=arguments.requests,
        grown_mb=grown / 1e6,
        streams=len(first_events),
        first_event_ms=max(first_events, default=float("nan")),
        is_closed=target.key is not None,
        machine=machine,
    )


async def _poll(target: Target, job: str, seconds: float) -> list[float]:
    """Returns the milliseconds of each poll."""
    end = time.perf_counter() + seconds
    times: list[float] = []

    async def ask_again_and_again() -> None:
        connection = await Connection.open(target)
        while (began := time.perf_counter()) < end:
            status, _ = await connection.ask("GET", f"/jobs/{job}")
            if status != 200:
                raise RuntimeError(f"a poll must be answered with 200, got {status}")
            times.append(1e3 * (time.perf_counter() - began))
        connection.close()

    await asyncio.gather(*(ask_again_and_again() for _ in range(_CONNECTIONS)))
    return times


async def _streams(target: Target, job: str, count: int) -> list[float]:
    """Returns the milliseconds until each of some streams, all open at once, told something."""
    connections = await asyncio.gather(*(Connection.open(target) for _ in range(count)))

    async def follow(connection: Connection) -> float | None:
        began = time.perf_counter()
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            if await asyncio.wait_for(connection.first_event(f"/jobs/{job}/events"), _ANSWER_SECONDS):
                return 1e3 * (time.perf_counter() - began)
        return None

    told = await asyncio.gather(*map(follow, connections))
    for connection in connections:
        connection.close()
    return [wait for wait in told if wait is not None]


async def _requests(target: Target, job: str, count: int) -> None:
    """Sends requests of several kinds, a refused upload among them."""
    kinds = [("GET", f"/jobs/{job}", b""), ("GET", "/jobs", b""), ("GET", "/tasks", b""), ("POST", _SMALL, b"no image")]
    kinds[-1] = ("POST", f"{_SMALL}&sigma=none", b"no image")

    async def some(share: int) -> None:
        connection = await Connection.open(target)
        for number in range(share):
            await connection.ask(*kinds[number % len(kinds)])
        connection.close()

    await asyncio.gather(*(some(count // _CONNECTIONS) for _ in range(_CONNECTIONS)))


async def _uploads(target: Target, count: int) -> dict[str, int]:
    image = _image()

    async def upload() -> str:
        with suppress(OSError, asyncio.IncompleteReadError):
            connection = await Connection.open(target)
            status, body = await asyncio.wait_for(connection.ask("POST", _SMALL, image), _ANSWER_SECONDS)
            connection.close()
            return str(status) if status == 202 else f"{status} {json.loads(body).get('code')}"
        return "dropped"

    return dict(Counter(await asyncio.gather(*(upload() for _ in range(count)))))


async def _submit(connection: Connection, path: str) -> str:
    status, body = await connection.ask("POST", path, _image())
    if status != 202:
        raise RuntimeError(f"the service must accept a job, and answered {status}")
    answer: dict[str, Any] = json.loads(body)
    return str(answer["id"])


def _image() -> bytes:
    ramp = np.linspace(0, 255, 64)
    buffer = io.BytesIO()
    Image.fromarray(((ramp[:, None] + ramp[None, :]) / 2).astype(np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


def _new_key(folder: Path) -> str:
    return AccessKeys(folder / "data" / "access").add(LOCAL_TENANT, tuple(SCOPES)).secret


def _processes(folder: str, words: str) -> list[psutil.Process]:
    """The processes of the service in a folder whose command line has these words."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        is_ours = folder in str((process.info["environ"] or {}).get("CERTRAD_DATA_DIR", ""))
        if is_ours and words in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found
