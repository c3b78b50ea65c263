"""Measures what the service adds to the sampling of a certificate: its hops, the decoding and the finishing.

    python -m certrad.bench service-overhead

It starts `certrad up` in a folder of its own, sends one image again and again, and reads the times of the events from
the job store. The image is a small PNG, so that the figures are those of the service and not of a decoder.
"""

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from redis import Redis

from certrad.bench.common.machine import Machine, this_machine
from certrad.workers.contract.names import events_key, record_key
from certrad.workers.local.redis_server import EmbeddedRedis

_READY: Final = re.compile(r"http://127\.0\.0\.1:\d+")
_START_SECONDS: Final = 240.0
_QUERY: Final = "adaptation=none&prompt=template&sigma=0.5&n0=64&n=64"
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
    """The median of each part, the least overhead, and every round."""

    median: Parts
    least_overhead: float
    rounds: tuple[Parts, ...]
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
        _service(Path(folder)) as url,
        Redis.from_url(EmbeddedRedis(Path(folder) / "data" / "redis").url) as redis,
    ):
        _one(url, redis)  # the first certificate makes keys
        rounds = tuple(_one(url, redis) for _ in range(arguments.rounds))
    names = [part.name for part in fields(Parts)]
    figures = ServiceOverhead(
        median=Parts(**{name: round(statistics.median(getattr(one, name) for one in rounds), 1) for name in names}),
        least_overhead=min(one.overhead for one in rounds),
        rounds=rounds,
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
            f"  {figures.machine}",
        )
    )


@contextmanager
def _service(folder: Path) -> Iterator[str]:
    """Yields the address of a service of its own. Raises RuntimeError if it does not start."""
    output = folder / "up.out"
    with output.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "certrad.app.cli.main", "up", "--port", "0", "--data-dir", str(folder / "data")],
            cwd=Path(__file__).resolve().parents[2],
            stdout=out,
            env={name: value for name, value in os.environ.items() if not name.startswith("CERTRAD_")},
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (found := _READY.search(output.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service must start within {_START_SECONDS:.0f} s, and did not")
            time.sleep(0.1)
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def _one(url: str, redis: Redis) -> Parts:
    """Certifies one image that was never sent before, and returns its times."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng().integers(0, 256, (256, 256), dtype=np.uint8)).save(buffer, "png")
    sent = urllib.request.Request(f"{url}/certify?{_QUERY}", buffer.getvalue(), {"Prefer": "wait=60"})  # noqa: S310
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
