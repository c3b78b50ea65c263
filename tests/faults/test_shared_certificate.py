"""Three engines share one certificate: the document of one engine, whoever is killed meanwhile."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis
from rq.job import Job

from certrad.workers.contract.names import ENGINE_QUEUE, claims_key, lapses_key, ledger_key
from certrad.workers.contract.queues import rq_job_id, stage_counts
from tests.support.offline import Offline, estimation_counts
from tests.support.processes import Processes, children, kill_9, wait_for
from tests.support.stack import JOB_SECONDS, START_SECONDS, RunningStack, start_stack

pytestmark = pytest.mark.system

ENGINES = 3
REQUEST = {"prompt": "template", "adaptation": "none", "sigma": 0.5, "n0": 64, "n": 8_000}


@pytest.fixture(scope="module")
def stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    data_dir = tmp_path_factory.mktemp("shared") / "three-engines"
    stack = start_stack(module_processes, data_dir, "--engines", str(ENGINES), threads=1, share_seconds=0)
    wait_for(lambda: len(stack.engines()) == ENGINES, timeout=START_SECONDS, what="every engine")
    return stack


@pytest.fixture
def shared(stack: RunningStack, image: bytes) -> Callable[..., tuple[str, set[str]]]:
    """Submits a certificate and waits until so many engines have committed blocks of it."""

    def submit(engines: int = 2, **fields: object) -> tuple[str, set[str]]:
        wait_for(lambda: len(stack.engines()) == ENGINES, timeout=START_SECONDS, what="every engine")
        job_id = stack.submit(image, **{**REQUEST, **fields})
        with stack.redis() as redis:
            names = wait_for(
                lambda: found if len(found := committing(redis, job_id)) >= engines else None,
                timeout=JOB_SECONDS,
                what=f"blocks of {engines} engines",
            )
        return job_id, names

    return submit


def committing(redis: Redis, job_id: str) -> set[str]:
    """The engines that have committed blocks of the run under way."""
    fields: Any = redis.hkeys(claims_key(job_id))
    return {field.decode().removeprefix("by:") for field in fields if field.startswith(b"by:")}


def leader(stack: RunningStack, job_id: str) -> str:
    """The engine that has the job."""
    with stack.redis() as redis:
        name = redis.hget(Job.key_for(rq_job_id(job_id, "certify")), "worker_name")
    return (name or b"").decode()


def kill_engine(stack: RunningStack, name: str) -> None:
    engine = stack.child("certrad.workers.engine.process", name)
    assert engine is not None
    kill_9(engine.pid)


def engine_processes(stack: RunningStack) -> set[int]:
    """The ids of the processes of the engines; a worker that keeps its name may have started its own anew."""
    found = set()
    for child in children(stack.process.pid):
        with suppress(psutil.NoSuchProcess):  # a zombie too
            if "certrad.workers.engine.process" in child.cmdline():
                found.add(child.pid)
    return found


def test_the_document_of_three_engines_is_that_of_one_after_kill_9_of_a_helper_and_of_the_leader(
    stack: RunningStack,
    shared: Callable[..., tuple[str, set[str]]],
    module_processes: Processes,
    image: bytes,
    offline: Offline,
) -> None:
    job_id, engines = shared()
    first = leader(stack, job_id)
    kill_engine(stack, next(iter(engines - {first})))
    kill_engine(stack, first)
    assert stack.job(job_id)["status"] == "running", "the job was over before the kills"
    document = stack.document(job_id)
    assert estimation_counts(document) == offline.estimation(document)
    data_dir = stack.data_dir.parent / "one-engine"
    for kept in ("secrets", "signing"):
        shutil.copytree(stack.data_dir / kept, data_dir / kept)
    one = start_stack(module_processes, data_dir, "--engines", "1", threads=1)
    assert json.dumps(one.document(one.submit(image, **REQUEST))) == json.dumps(document)


def test_three_engines_share_a_certificate_without_a_word_of_it_in_the_document(
    stack: RunningStack, shared: Callable[..., tuple[str, set[str]]], offline: Offline
) -> None:
    job_id, engines = shared(ENGINES, n=8_001)
    assert engines == stack.engines()
    document = stack.document(job_id)
    assert estimation_counts(document) == offline.estimation(document)
    assert not any(name in json.dumps(document) for name in engines)
    with stack.redis() as redis:
        wait_for(lambda: not list(redis.scan_iter("rq:job:*-assist-*")), what="the end of every ticket")
        assert not redis.exists(ledger_key(job_id), claims_key(job_id), lapses_key(job_id))


def test_cancelling_stops_every_engine_and_all_stay(
    stack: RunningStack, shared: Callable[..., tuple[str, set[str]]], image: bytes
) -> None:
    job_id, _ = shared(n=200_000)
    before, processes = stack.engines(), engine_processes(stack)
    assert httpx.delete(f"{stack.url}/jobs/{job_id}", timeout=30).status_code in (200, 202, 204)
    with stack.redis() as redis:
        wait_for(lambda: stage_counts(redis)[ENGINE_QUEUE].running == 0, what="idle engines")
        assert not redis.exists(ledger_key(job_id), claims_key(job_id), lapses_key(job_id))
    assert stack.job(job_id)["status"] == "cancelled"
    assert stack.engines() == before
    assert len(processes) >= 2
    stack.document(stack.submit(image, **REQUEST))  # meanwhile a process that is leaving is gone
    assert engine_processes(stack) >= processes
