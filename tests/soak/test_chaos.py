"""A service in constant trouble under constant load: every accepted job ends by itself, as if nothing had happened."""

import io
import itertools
import os
import platform
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from certrad.workers.contract.names import ENDED, PREFIX
from tests.support.offline import Offline, estimation_counts
from tests.support.processes import Processes, wait_for
from tests.support.stack import START_SECONDS, RunningStack, start_stack
from tests.support.troubles import mount_small_disk, troubles, unmount

pytestmark = pytest.mark.timeout(0)  # the run bounds itself

PLAIN: Final[dict[str, object]] = {"prompt": "template", "adaptation": "none", "n0": 64}
REQUESTS: Final[tuple[dict[str, object], ...]] = (
    {**PLAIN, "sigma": 0.5, "n": 1_600},
    {**PLAIN, "sigma": 0.25, "n": 300, "priority": "urgent"},
    {**PLAIN, "adaptation": "zero_shot", "sigma": 0.5, "n": 1_000},
)
OUTSTANDING: Final = 3
PAUSE_SECONDS: Final = (6.0, 12.0)  # the stack gives up a process that dies more than ten times within a minute
RECOVERY_SECONDS: Final = 400.0
SHORT_SECONDS: Final = 90.0
TTL_SECONDS: Final = 120
SETTINGS: Final = {"job_ttl": TTL_SECONDS, "output_ttl": 60, "job_retries": 100_000, "min_free_bytes": 8 << 20}
"""More retries than there is trouble: no job fails for want of them."""
TRUTHFUL: Final = {"fill disk": {"storage_unavailable"}, "fill Redis": {"job_store_full"}}
"""Trouble -> codes of jobs that it may fail; every other failure is none."""
MEMORY_SLACK_BYTES: Final = 2 << 20
"""What Redis' own buffers of connections may take more at one moment than at another."""
GROWING: Final = {"audit-trail", "logs", "redis"}
"""Folders with a retention of their own, which is longer than the run."""
FILE_SLACK_BYTES: Final = 1 << 20
"""What files that are written again and again may take more at one moment than at another."""
LOG: Final = "CERTRAD_CHAOS_LOG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How much the service keeps."""

    keys: int
    redis_bytes: int
    files: int
    file_bytes: int

    def __str__(self) -> str:
        memory, disk = self.redis_bytes / 2**20, self.file_bytes / 2**20
        return f"{self.keys} keys, {memory:.1f} MiB of Redis, {self.files} files of {disk:.2f} MiB"


@dataclass
class Run:
    """What has happened so far."""

    stack: RunningStack
    offline: Offline
    begun: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    caused: Counter[str] = field(default_factory=Counter)
    undisturbed: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, line: str) -> None:
        self.lines.append(f"{time.monotonic() - self.begun:7.1f} s  {line}")

    def look(self) -> None:
        """Checks the jobs that have ended; an API that is away says nothing."""
        for job_id, kind in list(self.running.items()):
            try:
                answer = httpx.get(f"{self.stack.url}/jobs/{job_id}", timeout=30)
            except httpx.TransportError:
                return
            assert answer.status_code in (200, 503), f"job {job_id} is lost: {answer.status_code} {answer.text}"
            if answer.status_code == 200 and (job := answer.json())["status"] in ENDED and self._check(job, kind):
                del self.running[job_id]

    def all_ended(self) -> bool:
        """Returns whether no job is under way any more."""
        self.look()
        return not self.running

    def _check(self, job: dict[str, Any], kind: int) -> bool:
        """Returns whether the outcome of a job is right; False while its certificate cannot be read."""
        if job["status"] != "succeeded":
            code = job["error"]["code"] if job["error"] else job["status"]
            allowed = set().union(*(TRUTHFUL.get(name, set()) for name in self.caused))
            assert code in allowed, (job["error"], self.lines)
            self.ended[f"failed with {code}"] += 1
            self.tell(f"job {job['id'][:8]} failed with {code}")
            return True
        try:
            answer = httpx.get(f"{self.stack.url}/jobs/{job['id']}/certificate", timeout=30)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            return False
        document = answer.json()
        assert document == self.undisturbed[kind], self.lines
        if REQUESTS[kind]["adaptation"] == "none":
            assert estimation_counts(document) == self.offline.estimation(document)
        self.ended["succeeded"] += 1
        return True


@pytest.fixture
def image() -> bytes:
    """A PNG that noise moves between classes."""
    ramp = np.linspace(0, 255, 64)
    buffer = io.BytesIO()
    Image.fromarray(((ramp[:, None] + ramp[None, :]) / 2).astype(np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a disk of its own that can be filled."""
    folder = tmp_path / "disk"
    is_disk = mount_small_disk(folder)
    yield folder, is_disk
    if is_disk:
        unmount(folder)


@pytest.fixture
def run(tmp_path: Path, small_disk: tuple[Path, bool], image: bytes) -> Iterator[Run]:
    """Yields a service of two engines under `SETTINGS`."""
    directory = tmp_path / "processes"
    directory.mkdir()
    with Processes(directory) as processes:
        stack = start_stack(processes, small_disk[0] / "data", "--engines", "2", threads=1, **SETTINGS)
        yield Run(stack, Offline(image))


@pytest.mark.parametrize(
    "is_long", [pytest.param(False, marks=pytest.mark.system), pytest.param(True, marks=pytest.mark.soak)]
)
def test_every_job_ends_with_its_undisturbed_certificate(
    run: Run, image: bytes, small_disk: tuple[Path, bool], soak_seconds: float, is_long: bool
) -> None:
    seconds = soak_seconds if is_long else SHORT_SECONDS
    accepted = 0
    if not small_disk[1]:
        run.tell("fill disk is left out: this process may not mount a disk")
    try:
        run.undisturbed = [run.stack.document(run.stack.submit(image, **request)) for request in REQUESTS]
        before = held(run.stack)
        run.tell(f"after {len(REQUESTS)} jobs without trouble the service holds {before}")
        accepted = len(REQUESTS) + make_trouble(run, image, seconds, with_disk=small_disk[1])
        wait_for(lambda: _is_ready(run.stack), timeout=START_SECONDS, what="the API")
        wait_for(run.all_ended, timeout=RECOVERY_SECONDS, what=f"the end of {run.running}")
        assert sum(run.ended.values()) == accepted - len(REQUESTS)
        assert sum(run.caused.values()) >= seconds / 30
        assert finished(run.stack) == accepted  # each once: the counter changes in the step that ends a job
        wait_for(lambda: not left_behind(run.stack), timeout=3.0 * TTL_SECONDS, what="the end of the times to live")
        after = held(run.stack)
        run.tell(f"after the times to live it holds {after}; nothing of a job but for events that expire")
        assert after.keys <= before.keys
        assert after.redis_bytes <= before.redis_bytes + MEMORY_SLACK_BYTES
        assert after.files <= before.files
        assert after.file_bytes <= before.file_bytes + FILE_SLACK_BYTES
        run.stack.process.terminate()
        run.stack.process.wait(timeout=120)
        wait_for(lambda: not of_service(run.stack.data_dir), what="the end of every process")
        run.tell("no process is left")
        run.tell("passed")
    except BaseException as error:  # an interruption too, and pytest's own failures, which are no `Exception`
        reason = " ".join(str(error).splitlines()[:1])
        run.tell(f"failed: {type(error).__name__} {reason}".rstrip())
        raise
    finally:
        write_log(run, seconds, accepted)


def make_trouble(run: Run, image: bytes, seconds: float, *, with_disk: bool) -> int:
    """Keeps some jobs under way and causes trouble; returns how many jobs were accepted."""
    choice = random.Random(20_261)
    ways = troubles(with_disk=with_disk)
    order = [name for _ in range(1_000) for name in choice.sample(list(ways), len(ways))]
    accepted = 0
    end = time.monotonic() + seconds
    for name in itertools.cycle(order):
        while len(run.running) < OUTSTANDING:
            kind = accepted % len(REQUESTS)
            run.running[submit(run, image, REQUESTS[kind], f"chaos-{accepted}")] = kind
            accepted += 1
        pause = time.monotonic() + choice.uniform(*PAUSE_SECONDS)
        while time.monotonic() < min(pause, end):
            run.look()
            time.sleep(0.2)
        if time.monotonic() >= end:
            return accepted
        if ways[name](run.stack, choice, name):
            run.caused[name] += 1
            run.tell(name)
        run.look()
    return accepted


def submit(run: Run, image: bytes, request: dict[str, object], key: str) -> str:
    """Sends an image until it is accepted; the key makes one job of all attempts."""

    def accepted() -> httpx.Response | None:
        try:
            answer = httpx.post(
                f"{run.stack.url}/certify",
                files={"image": image},
                data={name: str(value) for name, value in request.items()},
                headers={"Idempotency-Key": key},
                timeout=30,
            )
        except httpx.TransportError:
            return None
        assert answer.status_code in (202, 503), (answer.status_code, answer.text)
        return answer if answer.status_code == 202 else None

    job_id: str = wait_for(accepted, timeout=RECOVERY_SECONDS, what="a service that accepts").json()["id"]
    return job_id


def finished(stack: RunningStack) -> int:
    """Returns how often a job has ended, as the service counts."""
    text = httpx.get(f"{stack.url}/metrics", timeout=30).text
    return round(sum(float(value) for value in re.findall(r"^certrad_jobs_total\{[^}]*\} (\S+)$", text, re.MULTILINE)))


def left_behind(stack: RunningStack) -> list[str]:
    """Uploads, outputs and keys of Redis that are kept of jobs; events that expire by themselves do not count."""
    files = [path.name for name in ("blobs", "outputs") for path in (stack.data_dir / name).glob("*")]
    with stack.redis() as redis:
        kinds = (f"{PREFIX}:job:*", f"{PREFIX}:idem:*", f"{PREFIX}:callback:*", "rq:job:*")
        keys = [key.decode() for kind in kinds for key in redis.scan_iter(kind)]
        return files + [key for key in keys if not (key.endswith(":events") and redis.ttl(key) > 0)]


def held(stack: RunningStack) -> Held:
    """What Redis and the data directory hold, but for what `left_behind` counts and what has a longer retention."""
    of_jobs = set(left_behind(stack))
    with stack.redis() as redis:
        keys = [key for key in redis.scan_iter() if not key.endswith(b":events") and key.decode() not in of_jobs]
        memory = int(redis.info("memory")["used_memory"])
    folders = [folder for folder in stack.data_dir.iterdir() if folder.is_dir() and folder.name not in GROWING]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name not in of_jobs]
    size = sum(_size(path) for path in files)
    return Held(keys=len(keys), redis_bytes=memory, files=len(files), file_bytes=size)


def of_service(data_dir: Path) -> list[int]:
    """The processes that work on a data directory."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if str(data_dir) in " ".join(process.info["cmdline"] or ())
        or (process.info["environ"] or {}).get("CERTRAD_DATA_DIR") == str(data_dir)
    ]


def write_log(run: Run, seconds: float, accepted: int) -> None:
    """Writes what has happened to the file that the environment names, in a form to keep."""
    if LOG not in os.environ:
        return
    caused = ", ".join(f"{count} x {name}" for name, count in sorted(run.caused.items()))
    ended = ", ".join(f"{count} {name}" for name, count in sorted(run.ended.items()))
    head = [
        f"chaos of {seconds:.0f} s on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, {platform.machine()}, "
        f"Python {platform.python_version()}",
        f"settings that are not the default: {', '.join(f'{name}={value}' for name, value in SETTINGS.items())}",
        f"jobs accepted under trouble: {accepted - len(REQUESTS)}; {ended or 'none ended'}",
        f"trouble: {caused or 'none'}",
        "",
    ]
    Path(os.environ[LOG]).write_text("\n".join([*head, *run.lines]) + "\n", "utf-8")


def _size(path: Path) -> int:
    """Returns how many bytes a file has; none if the service has deleted it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_ready(stack: RunningStack) -> bool:
    try:
        return stack.process.poll() is None and httpx.get(f"{stack.url}/health/ready", timeout=30).status_code == 200
    except httpx.TransportError:
        return False
