"""A service whose processes are killed all the time: every job ends by itself, as if nothing had happened."""

import io
import itertools
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from certrad.workers.contract.names import ENDED, PREFIX
from tests.support.processes import Processes, kill_9, wait_for
from tests.support.stack import START_SECONDS, RunningStack, start_stack

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]  # the soak bounds itself

REQUESTS: Final[tuple[dict[str, object], ...]] = (
    {"prompt": "template", "adaptation": "none", "sigma": 0.5, "n0": 64, "n": 1_600},
    {"prompt": "template", "adaptation": "none", "sigma": 0.25, "n0": 64, "n": 300, "priority": "urgent"},
    {"prompt": "template", "adaptation": "zero_shot", "sigma": 0.5, "n0": 64, "n": 1_000},
)
VICTIMS: Final[tuple[tuple[str, ...], ...]] = (
    ("redis.sock",),
    ("certrad.app.http.server",),
    ("worker", "intake"),
    ("worker engine",),
    ("certrad.workers.engine.process",),
)
OUTSTANDING: Final = 3
PAUSE_SECONDS: Final = (6.0, 12.0)  # the stack gives up a process that dies more than ten times within a minute
RECOVERY_SECONDS: Final = 300.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    """Two engines, and more retries than there are kills."""
    directory = tmp_path / "processes"
    directory.mkdir()
    with Processes(directory) as processes:
        yield start_stack(processes, tmp_path / "data", "--engines", "2", threads=1, job_retries=100_000)


@pytest.fixture
def image() -> bytes:
    """A PNG that noise moves between classes."""
    ramp = np.linspace(0, 255, 64)
    buffer = io.BytesIO()
    Image.fromarray(((ramp[:, None] + ramp[None, :]) / 2).astype(np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


def submit(stack: RunningStack, image: bytes, request: dict[str, object], key: str) -> str:
    """Sends an image until it is accepted; the key makes one job of all attempts."""

    def accepted() -> httpx.Response | None:
        try:
            answer = httpx.post(
                f"{stack.url}/certify",
                files={"image": image},
                data={name: str(value) for name, value in request.items()},
                headers={"Idempotency-Key": key},
                timeout=30,
            )
        except httpx.TransportError:
            return None
        assert answer.status_code in (202, 500, 503), answer.text
        return answer if answer.status_code == 202 else None

    job_id: str = wait_for(accepted, timeout=RECOVERY_SECONDS, what="a service that accepts").json()["id"]
    return job_id


def has_ended(stack: RunningStack, job_id: str) -> bool:
    """Whether the API says that the job has ended; no while it is away."""
    try:
        answer = httpx.get(f"{stack.url}/jobs/{job_id}", timeout=30)
    except httpx.TransportError:
        return False
    assert answer.status_code in (200, 500, 503), answer.text
    return answer.status_code == 200 and answer.json()["status"] in ENDED


def kill_one(stack: RunningStack, choice: random.Random) -> str | None:
    """Kills one process of the stack; returns which, or None where it was away already."""
    words = choice.choice(VICTIMS)
    victims = [child for child in psutil.Process(stack.process.pid).children(recursive=True) if _has(child, words)]
    if not victims:
        return None
    try:
        kill_9(choice.choice(victims).pid)
    except ProcessLookupError:
        return None
    return " ".join(words)


def _has(process: psutil.Process, words: tuple[str, ...]) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return all(word in line for word in words)


def left_behind(stack: RunningStack) -> list[str]:
    """Uploads and keys of running jobs: tensors, ledgers and documents."""
    blobs = [path.name for path in (stack.data_dir / "blobs").iterdir()]
    with stack.redis() as redis:
        keys = [
            key.decode() for kind in ("input", "ledger", "document") for key in redis.keys(f"{PREFIX}:job:*:{kind}")
        ]
    return blobs + keys


def test_every_job_ends_with_its_undisturbed_certificate(
    stack: RunningStack, image: bytes, soak_seconds: float
) -> None:
    undisturbed: list[dict[str, Any]] = [stack.document(stack.submit(image, **request)) for request in REQUESTS]
    choice = random.Random(20_261)
    jobs: dict[str, int] = {}
    kills: list[str] = []
    end = time.monotonic() + soak_seconds
    for number in itertools.count():
        if time.monotonic() >= end:
            break
        while sum(not has_ended(stack, job_id) for job_id in jobs) < OUTSTANDING:
            kind = len(jobs) % len(REQUESTS)
            jobs[submit(stack, image, REQUESTS[kind], f"soak-{number}-{len(jobs)}")] = kind
        time.sleep(choice.uniform(*PAUSE_SECONDS))
        kills += [victim] if (victim := kill_one(stack, choice)) else []
    wait_for(lambda: stack.process.poll() is None and _is_live(stack), timeout=START_SECONDS, what="the API")
    for job_id, kind in jobs.items():
        wait_for(partial(has_ended, stack, job_id), timeout=RECOVERY_SECONDS, what=f"the end of {job_id}")
        assert stack.document(job_id) == undisturbed[kind], f"after {kills}"
    assert kills
    wait_for(lambda: not left_behind(stack), what=f"nothing left behind after {len(kills)} kills")


def _is_live(stack: RunningStack) -> bool:
    try:
        return httpx.get(f"{stack.url}/health/ready", timeout=30).status_code == 200
    except httpx.TransportError:
        return False
