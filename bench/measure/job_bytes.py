"""Measures the bytes of Redis that a certificate takes: while its job runs, at its end, and once its events are gone.

    python -m certrad.bench job-bytes --n 10000

It starts the service with an embedded Redis, submits one image, and adds up `MEMORY USAGE` of every key that bears the
id of the job, several times a second. An entry in two sorted sets (some 100 bytes) comes on top.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx
import numpy as np
from PIL import Image
from redis import Redis

from certrad.bench.common.machine import this_machine
from certrad.workers.contract.names import ENDED, events_key
from certrad.workers.local.redis_server import EmbeddedRedis

_SIDE: Final = 512
_PAUSE_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBytes:
    """Bytes of Redis.

    running: the most that the job took before its end. ended: right after the end. kept: until the record expires, once
    the events are gone. by_key: bytes of each key at the end; `ID` stands for the id of the job.
    """

    running: int
    ended: int
    kept: int
    by_key: dict[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--n", type=int, default=10_000, help="estimation samples of the certificate")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder, _service(Path(folder) / "data") as url:
        redis_url = EmbeddedRedis(Path(folder) / "data" / "redis").url
        with Redis.from_url(redis_url) as redis, httpx.Client(base_url=url, timeout=30.0) as client:
            measured = measure(redis, client, arguments.n)
    if arguments.json:
        print(json.dumps({"n": arguments.n, "bytes": asdict(measured), "machine": asdict(this_machine())}, indent=2))
    else:
        print(as_markdown(measured))


def measure(redis: Redis, client: httpx.Client, n: int) -> JobBytes:
    """Returns the bytes of one job with the template prompt.

    Args:
        redis: The job store of the service.
        client: A client of the service.
        n: Estimation samples.
    """
    fields = {"n": str(n), "prompt": "template"}
    answer = client.post("/certify", files={"image": _picture()}, data=fields).raise_for_status()
    job_id, running = str(answer.json()["id"]), 0
    while _job(client, job_id)["status"] not in ENDED:
        running = max(running, sum(bytes_by_key(redis, job_id).values()))
        time.sleep(_PAUSE_SECONDS)
    if (job := _job(client, job_id))["status"] != "succeeded":
        raise SystemExit(f"the job did not succeed: {job['error']}")
    by_key = bytes_by_key(redis, job_id)
    of_job = {key: size for key, size in by_key.items() if not key.startswith("rq:")}  # RQ's own are gone in a minute
    return JobBytes(
        running=running,
        ended=sum(by_key.values()),
        kept=sum(size for key, size in of_job.items() if key != events_key(job_id)),
        by_key={key.replace(job_id, "ID"): size for key, size in by_key.items()},
    )


def bytes_by_key(redis: Redis, job_id: str) -> dict[str, int]:
    """Returns the bytes of each key whose name holds the id of a job."""
    sizes = {key.decode(): redis.memory_usage(key, samples=0) for key in redis.scan_iter(f"*{job_id}*")}
    return {key: size for key, size in sorted(sizes.items()) if size is not None}


def as_markdown(measured: JobBytes) -> str:
    """Returns the table of the documentation, and below it the keys."""
    lines = ["| when | bytes |", "|---|---|"]
    lines += [f"| while it runs, at most | {measured.running:,} |", f"| right after its end | {measured.ended:,} |"]
    lines += [f"| once its events are gone | {measured.kept:,} |", "", "| key | bytes after the end |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{key}` | {size:,} |" for key, size in measured.by_key.items())])


def _job(client: httpx.Client, job_id: str) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", client.get(f"/jobs/{job_id}").raise_for_status().json())


def _picture() -> bytes:
    ramp = np.linspace(0, 255, _SIDE)
    buffer = io.BytesIO()
    Image.fromarray((np.add.outer(ramp, ramp) / 2).astype(np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


@contextmanager
def _service(data_dir: Path) -> Iterator[str]:
    """Runs the service with an embedded Redis, and yields its address."""
    command = [sys.executable, "-m", "certrad.workers.cli.main", "up", "--port", "0", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own module
        try:
            said = process.stdout.readline() if process.stdout else ""
            ready = re.search(r"http://\S+", said)
            if ready is None:
                raise SystemExit("the service did not start")
            yield ready[0]
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)
