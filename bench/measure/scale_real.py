"""Real engines for `bench scale`: `certrad up` with the embedded encoder, each engine pinned to one core."""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx
import numpy as np
import psutil
from PIL import Image

from certrad.workers.contract.names import ENDED

_ENGINE: Final = "certrad.workers.engine.process"
_READY_SECONDS: Final = 240.0
_STOP_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1
_WARM_UP: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """One certificate of real engines.

    Attributes:
        engines: Engines that could share it.
        seconds: Seconds of its estimation samples, as the result tells them.
    """

    engines: int
    seconds: float


def measure_real(n: int, cores: list[int]) -> Real:
    """Returns what one certificate takes on as many engines as there are cores.

    Args:
        n: Estimation samples.
        cores: The cores, one for each engine.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        _service(Path(folder) / "data", len(cores)) as (process, url),
        httpx.Client(base_url=url, timeout=30.0) as client,
    ):
        engines = _await_engines(client, process, len(cores))
        for engine, core in zip(engines, cores, strict=True):
            for pid in (engine.pid, *(thread.id for thread in engine.threads())):
                os.sched_setaffinity(pid, {core})
        _estimation_seconds(client, _WARM_UP, seed=0)
        return Real(engines=len(cores), seconds=_estimation_seconds(client, n, seed=1))


def _await_engines(client: httpx.Client, process: subprocess.Popen[str], number: int) -> list[psutil.Process]:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        answer = client.get("/health/workers")
        if answer.status_code == httpx.codes.OK and len(answer.json()["engines"]) == number:
            children = psutil.Process(process.pid).children(recursive=True)
            return [child for child in children if _ENGINE in " ".join(child.cmdline())]
        time.sleep(_PAUSE_SECONDS)
    raise SystemExit(f"{number} engines did not start within {_READY_SECONDS:.0f} s")


def _estimation_seconds(client: httpx.Client, n: int, *, seed: int) -> float:
    """Certifies one image, and returns the seconds of its estimation samples."""
    fields = {"prompt": "template", "adaptation": "none", "sigma": "0.5", "n0": "64", "n": str(n)}
    answer = client.post("/certify", files={"image": _picture(seed)}, data=fields).raise_for_status()
    job_id = str(answer.json()["id"])
    while (job := _job(client, job_id))["status"] not in ENDED:
        time.sleep(_PAUSE_SECONDS)
    if job["status"] != "succeeded":
        raise SystemExit(f"the job did not succeed: {job['error']}")
    return float(job["result"]["timing"]["estimate_s"])


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return cast("dict[str, Any]", client.get(f"/jobs/{job_id}").raise_for_status().json())


def _picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


@contextmanager
def _service(data_dir: Path, engines: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Runs the service with an embedded Redis, and yields its process and its address."""
    command = [sys.executable, "-m", "certrad.workers.cli.main", "up", "--port", "0", "--data-dir", str(data_dir)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("CERTRAD_")}
    env |= {"CERTRAD_THREADS": "1", "CERTRAD_SHARE_SECONDS": "0.5"}
    with subprocess.Popen(  # noqa: S603  # our own module
        [*command, "--engines", str(engines)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            ready = re.search(r"http://\S+", said)
            if ready is None:
                raise SystemExit("the service did not start")
            yield process, ready[0]
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)
