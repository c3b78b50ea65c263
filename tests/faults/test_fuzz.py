"""No request, however odd, is answered by a 5xx or by anything undocumented, and no upload kills a worker."""

import random
from collections import Counter
from functools import partial
from typing import Any, Final

import httpx
import psutil
import pytest

from certrad.workers.contract.access import SCOPES
from certrad.workers.contract.access_keys import AccessKeys
from tests.support.fuzzing import fuzz, mutated
from tests.support.image_seeds import FORMATS, seeds
from tests.support.processes import Processes, wait_for
from tests.support.stack import RunningStack, start_stack

SEED: Final = 20_261
SECONDS: Final = 35.0
UPLOADS: Final = 300
UPLOADS_OF_A_SOAK: Final = 10_000
ACTIVE: Final = 200  # of the 256 that may be queued
PARTS: Final = ("worker intake", "worker archive", "worker engine", "redis.sock")
ENGINE: Final = "certrad.workers.engine.process"


@pytest.fixture(scope="module")
def open_stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """A service on loopback that is open to this machine."""
    return start_stack(module_processes, tmp_path_factory.mktemp("open") / "data")


@pytest.fixture(scope="module")
def closed_stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """A service that asks everyone for a key, and limits no rate."""
    limits = dict.fromkeys(("submissions_per_minute", "requests_per_minute", "refusals_per_minute"), 10**9)
    return start_stack(module_processes, tmp_path_factory.mktemp("closed") / "closed", access="closed", **limits)


def key_of(stack: RunningStack) -> dict[str, str]:
    made = AccessKeys(stack.data_dir / "access").add("clinic-b", list(SCOPES))
    return {"Authorization": f"Bearer {made.secret}"}


def workers(stack: RunningStack) -> dict[str, set[int]]:
    """The processes of a stack that live as long as nothing kills them: its own children, and those of its engines.

    Copies that a worker forks for one job have the same command lines, and end with the job.
    """
    found: dict[str, set[int]] = {words: set() for words in (*PARTS, ENGINE)}
    own = {child.pid: child for child in psutil.Process(stack.process.pid).children()}
    for words in PARTS:
        found[words] = {pid for pid, child in own.items() if words in command_of(child)}
    for pid in found["worker engine"]:
        found[ENGINE] |= {child.pid for child in own[pid].children() if ENGINE in command_of(child)}
    return found


def command_of(process: psutil.Process) -> str:
    """Returns the command line of a process; an empty one if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def samples() -> list[tuple[bytes, dict[str, str]]]:
    """One file of each kind that is decoded in another way, and the fields that it needs."""
    return [(file, {"frame": "1"} if name == "dicom" else {}) for name in FORMATS for file in seeds(name)]


@pytest.mark.system
@pytest.mark.timeout(0)
def test_every_answer_of_an_open_service_is_documented(open_stack: RunningStack) -> None:
    sent, faults = fuzz(open_stack.url, {}, seconds=SECONDS, seed=SEED)
    assert not faults, "\n".join(faults)
    assert sent > 100


@pytest.mark.system
@pytest.mark.timeout(0)
def test_every_answer_of_a_closed_service_is_documented(closed_stack: RunningStack) -> None:
    sent, faults = fuzz(closed_stack.url, key_of(closed_stack), seconds=SECONDS, seed=SEED)
    assert not faults, "\n".join(faults)
    assert sent > 100


@pytest.mark.system
@pytest.mark.timeout(0)
def test_every_answer_to_a_request_without_a_key_is_documented(closed_stack: RunningStack) -> None:
    sent, faults = fuzz(closed_stack.url, {}, seconds=SECONDS / 3, seed=SEED)
    assert not faults, "\n".join(faults)
    assert sent > 100


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_answer_is_documented_for_long(open_stack: RunningStack, soak_seconds: float) -> None:
    _, faults = fuzz(open_stack.url, {}, seconds=soak_seconds, seed=SEED + 1)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "uploads",
    [pytest.param(UPLOADS, marks=pytest.mark.system), pytest.param(UPLOADS_OF_A_SOAK, marks=pytest.mark.soak)],
)
@pytest.mark.timeout(0)
def test_mutated_uploads_kill_no_worker(open_stack: RunningStack, uploads: int) -> None:
    before = workers(open_stack)
    assert all(before.values()), before
    answers, ends = send_mutated(open_stack, uploads)
    assert workers(open_stack) == before
    assert set(ends) == {"succeeded", "failed"}
    assert sum(ends.values()) == answers[202] >= uploads / 4
    assert min(ends.values()) >= uploads / 20


def send_mutated(stack: RunningStack, uploads: int) -> tuple[Counter[int], Counter[str]]:
    """The number of each answer, and of each end of a job."""
    choice = random.Random(SEED)
    originals = samples()
    answers: Counter[int] = Counter()
    ends: Counter[str] = Counter()
    waiting: list[str] = []
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        for number in range(uploads):
            original, needed = originals[number % len(originals)]
            upload = mutated(original, choice)
            answer = client.post(
                "/certify", files={"image": upload}, data={"n0": "64", "n": "64", "adaptation": "none", **needed}
            )
            answers[answer.status_code] += 1
            assert answer.status_code in (202, 413, 415, 422), answer.text
            if answer.status_code == 202:
                waiting.append(answer.json()["id"])
            if len(waiting) >= ACTIVE or number == uploads - 1:
                for job_id in waiting:
                    job = wait_for(partial(ended, client, job_id), timeout=600.0, what="the end of a job")
                    ends[job["status"]] += 1
                    assert job["status"] != "failed" or job["error"]["code"] not in FAULTS, job
                waiting.clear()
    return answers, ends


FAULTS: Final = frozenset({"internal_error", "worker_lost", "job_timeout"})


def ended(client: httpx.Client, job_id: str) -> dict[str, Any] | None:
    job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
    return job if job["status"] in ("succeeded", "failed", "cancelled") else None
