"""It does not matter which engine works on a job, nor how many do one after another."""

import signal
from collections.abc import Callable

import httpx
import psutil
import pytest
from rq.job import Job

from certrad.workers.contract.names import ledger_key
from certrad.workers.contract.queues import rq_job_id
from tests.support.offline import Offline, estimation_counts
from tests.support.processes import Processes, wait_for
from tests.support.stack import JOB_SECONDS, START_SECONDS, RunningStack, start_stack

pytestmark = pytest.mark.system

ENGINES = 3
REQUEST = {"prompt": "template", "adaptation": "none", "sigma": 0.5, "n0": 64}


@pytest.fixture(scope="module")
def stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    data_dir = tmp_path_factory.mktemp("stack") / "data"
    return start_stack(module_processes, data_dir, "--engines", str(ENGINES), threads=1, cancel_grace_seconds=10)


@pytest.fixture
def all_engines(stack: RunningStack) -> set[str]:
    """The engines, once all are alive."""
    return wait_for(
        lambda: names if len(names := stack.engines()) == ENGINES else None, timeout=START_SECONDS, what="every engine"
    )


def worker_of(stack: RunningStack, job_id: str) -> str:
    """The engine that has, or had last, the job."""
    with stack.redis() as redis:
        name = redis.hget(Job.key_for(rq_job_id(job_id, "certify")), "worker_name")
    return (name or b"").decode()


def parent_of(stack: RunningStack, name: str) -> psutil.Process:
    """The RQ worker of an engine, by the name on the engine's command line."""
    engine = stack.child("certrad.workers.engine.process", name)
    assert engine is not None
    parent = engine.parent()
    assert parent is not None
    return parent


def test_beside_several_engines_a_slow_upload_does_not_hold_the_only_intake(stack: RunningStack) -> None:
    def intakes() -> int:
        return len(httpx.get(f"{stack.url}/health/workers", timeout=30).json()["queues"]["intake"])

    wait_for(lambda: intakes() == 2, timeout=START_SECONDS, what="a second intake worker")


@pytest.mark.usefixtures("all_engines")
def test_any_engine_comes_to_the_same_counts(stack: RunningStack, image: bytes, offline: Offline) -> None:
    documents = {}

    def every_engine_has_done_one() -> bool:
        job_id = stack.submit(image, **REQUEST, n=300)
        document = stack.document(job_id)
        documents[worker_of(stack, job_id)] = document
        return len(documents) == ENGINES

    wait_for(every_engine_has_done_one, timeout=JOB_SECONDS, what="a job on every engine")
    first, second, third = documents.values()
    assert first == second == third
    assert estimation_counts(first) == offline.estimation(first)


def test_one_engine_finishes_what_another_began(
    stack: RunningStack, all_engines: set[str], image: bytes, offline: Offline
) -> None:
    job_id = stack.submit(image, **REQUEST, n=4_000)
    stack.await_blocks(job_id)
    first = worker_of(stack, job_id)
    parent_of(stack, first).send_signal(signal.SIGTERM)
    document = stack.document(job_id)
    assert worker_of(stack, job_id) in all_engines - {first}
    assert estimation_counts(document) == offline.estimation(document)


def test_a_job_cancelled_in_mid_block_ends_at_once_and_the_engine_stays(
    stack: RunningStack, all_engines: set[str], image: bytes, cancel: Callable[[str], None]
) -> None:
    job_id = stack.submit(image, **REQUEST, n=100_000)
    stack.await_blocks(job_id)
    name = worker_of(stack, job_id)
    engine = stack.child("certrad.workers.engine.process", name)
    assert engine is not None
    engine.suspend()  # in the middle of a block
    cancel(job_id)
    engine.resume()
    assert stack.job(job_id)["status"] == "cancelled"
    wait_for(lambda: is_idle(stack, name), what="the end of the block")
    assert engine.is_running()
    with stack.redis() as redis:
        assert not redis.exists(ledger_key(job_id)), "a block was committed after the end"


def test_an_engine_that_does_not_hear_is_killed_and_replaced(
    stack: RunningStack, all_engines: set[str], image: bytes, cancel: Callable[[str], None]
) -> None:
    job_id = stack.submit(image, **REQUEST, n=100_000)
    stack.await_blocks(job_id)
    name = worker_of(stack, job_id)
    engine = stack.child("certrad.workers.engine.process", name)
    assert engine is not None
    engine.suspend()
    cancel(job_id)
    wait_for(lambda: stack.another_child(engine, "certrad.workers.engine.process", name), what="another engine")
    wait_for(lambda: name in stack.engines(), timeout=START_SECONDS, what="the new engine's card")


@pytest.fixture
def cancel(stack: RunningStack) -> Callable[[str], None]:
    def delete(job_id: str) -> None:
        assert httpx.delete(f"{stack.url}/jobs/{job_id}", timeout=30).status_code in (200, 202, 204)

    return delete


def is_idle(stack: RunningStack, name: str) -> bool:
    with stack.redis() as redis:
        state: object = redis.hget(f"rq:worker:{name}", "state")
    return state == b"idle"
