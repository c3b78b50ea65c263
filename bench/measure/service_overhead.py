"""Measures what the service adds to the sampling of a certificate: its hops, the decoding and the finishing.

    python -m certrad.bench service-overhead

It starts `certrad up` in a folder of its own, sends one image again and again, and reads the times of the events from
the job store. The image is a small PNG, so that the figures are those of the service and not of a decoder.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from redis import Redis

from certrad.bench.common.machine import Machine, this_machine
from certrad.bench.common.own_service import own_service
from certrad.workers.contract.names import events_key, record_key
from certrad.workers.local.redis_server import EmbeddedRedis

_QUERY: Final = "adaptation=none&prompt=template&sigma=0.5&n0=64&n=64"
_LINE_QUERY: Final = "adaptation=none&prompt=template&sigma=0.5&n0=64&n=256"
_LINE_SECONDS: Final = 600.0
_OLDEST_ESTIMATE_SECONDS: Final = 1.1
_BOUNDARIES: Final = ("queued", "decoding", "waiting", "loading", "finishing", "end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Milliseconds of one certificate.

    accept: from the first byte of the request to the job. to_intake, to_engine: from one stage's end to the begin of
    the next. decode: the image, until it waits for an engine. engine: everything that is not overhead. finish: from the
    engine's last word to the end of the job, its hop included. overhead: all but `engine`.
    """

    accept: float
    to_intake: float
    decode: float
    to_engine: float
    engine: float
    finish: float
    overhead: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOverhead:
    """The median of each part, the least overhead, and every round.

    gaps: milliseconds between two jobs of a warm engine that has the next one waiting, from the last word about one to
    the first about the next, in their order. estimates: the wait that each job of the same line was told, and its own.
    """

    median: Parts
    least_overhead: float
    rounds: tuple[Parts, ...]
    gaps: tuple[float, ...]
    estimates: tuple[tuple[float | None, float], ...]
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    with (
        tempfile.TemporaryDirectory() as folder,
        own_service(Path(folder)) as url,
        Redis.from_url(EmbeddedRedis(Path(folder) / "data" / "redis").url) as redis,
    ):
        _one(url, redis)  # the first certificate makes keys
        rounds = tuple(_one(url, redis) for _ in range(arguments.rounds))
        line = _line(url, redis, arguments.rounds)
    names = [part.name for part in fields(Parts)]
    figures = ServiceOverhead(
        median=Parts(**{name: round(statistics.median(getattr(one, name) for one in rounds), 1) for name in names}),
        least_overhead=min(one.overhead for one in rounds),
        rounds=rounds,
        gaps=_gaps(line),
        estimates=tuple((job.told, round(job.at["loading"] - job.read_at, 3)) for job in line),
        machine=machine,
    )
    print(json.dumps(asdict(figures), indent=2) if arguments.json else as_text(figures))


def as_text(figures: ServiceOverhead) -> str:
    """The figures for reading."""
    parts = ", ".join(f"{part.name} {getattr(figures.median, part.name):.0f}" for part in fields(Parts))
    return "\n".join(
        (
            f"milliseconds, medians of {len(figures.rounds)} certificates: {parts}",
            f"  the least overhead: {figures.least_overhead:.0f}",
            f"gap between two jobs of a warm engine: median {statistics.median(figures.gaps):.1f} ms, "
            f"least {min(figures.gaps):.1f}, most {max(figures.gaps):.1f}, of {len(figures.gaps)}",
            "wait that was told and that was, in seconds: "
            + ", ".join(f"{'?' if told is None else f'{told:g}'}/{was:.1f}" for told, was in figures.estimates),
            f"  {figures.machine}",
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _InLine:
    """One job of a line: the wait that it was told, when, and the times of its events."""

    told: float | None
    read_at: float
    at: dict[str, float]


def _line(url: str, redis: Redis, length: int) -> list[_InLine]:
    """Returns jobs of one line before one engine, in the order in which it had them."""
    jobs = [_accepted(url) for _ in range(length)]
    began = time.time()
    time.sleep(_OLDEST_ESTIMATE_SECONDS)  # the estimates that follow know the whole line
    told: dict[str, tuple[float | None, float]] = {}
    for job in jobs:
        with urllib.request.urlopen(f"{url}/jobs/{job}") as answer:  # noqa: S310  # see `_one`
            estimate = json.load(answer)["estimate"]
        told[job] = (estimate["wait_seconds"] if estimate else None, time.time())
    for job in jobs:
        while redis.hget(record_key(job), "status") != b"succeeded":
            if time.time() - began > _LINE_SECONDS:
                raise RuntimeError(f"the line must end within {_LINE_SECONDS:.0f} s, and did not")
            time.sleep(0.05)
    line = [_InLine(told=told[job][0], read_at=told[job][1], at=_times(job, redis)) for job in jobs]
    return sorted(line, key=lambda job: job.at["loading"])


def _gaps(line: list[_InLine]) -> tuple[float, ...]:
    """Returns the milliseconds between two jobs where the later one waited when the earlier one ended."""
    return tuple(
        round(1000 * (after.at["loading"] - before.at["finishing"]), 1)
        for before, after in pairwise(line)
        if after.at["waiting"] < before.at["finishing"]
    )


def _accepted(url: str) -> str:
    """Sends one image that was never sent before, and returns the id of its job."""
    sent = urllib.request.Request(f"{url}/certify?{_LINE_QUERY}", _picture())  # noqa: S310  # see `_one`
    with urllib.request.urlopen(sent) as answer:  # noqa: S310  # see `_one`
        return str(json.load(answer)["id"])


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng().integers(0, 256, (256, 256), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def _one(url: str, redis: Redis) -> Parts:
    """Certifies one image that was never sent before, and returns its times."""
    sent = urllib.request.Request(f"{url}/certify?{_QUERY}", _picture(), {"Prefer": "wait=60"})  # noqa: S310
    began = time.time()
    with urllib.request.urlopen(sent) as answer:  # noqa: S310  # the service that this process has started
        job: dict[str, Any] = json.load(answer)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the certificate must succeed, got {job['status']}: {job['error']}")
    at = _times(job["id"], redis)
    steps = [1000 * (at[after] - at[before]) for before, after in pairwise(_BOUNDARIES)]
    accept, (to_intake, decode, to_engine, engine, finish) = 1000 * (at["queued"] - began), steps
    return Parts(
        accept=accept,
        to_intake=to_intake,
        decode=decode,
        to_engine=to_engine,
        engine=engine,
        finish=finish,
        overhead=accept + to_intake + decode + to_engine + finish,
    )


def _times(job_id: str, redis: Redis) -> dict[str, float]:
    """Returns when each phase began and the job ended, in seconds since 1970."""
    created: Any = redis.hget(record_key(job_id), "created_at")
    at = {"queued": float(created)}
    entries: Any = redis.xrange(events_key(job_id))
    for entry_id, entry in entries:
        name = entry[b"event"].decode()
        data = json.loads(entry[b"data"])
        key = data["phase"] if name == "phase" else name
        at.setdefault(key, int(entry_id.partition(b"-")[0]) / 1000)
    return at
