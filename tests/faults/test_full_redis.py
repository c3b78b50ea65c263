"""A Redis that fills up in mid-job and has room again later: the job succeeds, with the counts it would have had."""

import time

import pytest
from rq.job import Job

from certrad.workers.contract.names import ENGINE_QUEUE, ledger_key
from certrad.workers.contract.queues import queue, rq_job_id
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.offline import Offline, estimation_counts
from tests.support.processes import Processes, children, wait_for
from tests.support.shortages import FullMemory
from tests.support.stack import RunningStack, start_stack

pytestmark = pytest.mark.system

REQUEST = {"prompt": "template", "adaptation": "none", "sigma": 0.5, "n0": 64, "n": 4_000}


@pytest.fixture
def stack(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    return start_stack(processes, tmp_path_factory.mktemp("stack") / "data", threads=1)


def lasting(stack: RunningStack) -> set[int]:
    """Returns the ids of all processes of the stack but the work horses of intake, of which each does one task."""
    return {
        child.pid
        for child in children(stack.process.pid)
        if child.ppid() == stack.process.pid or "certrad.workers.engine.process" in child.cmdline()
    }


def test_a_full_redis_delays_a_job_and_changes_nothing(stack: RunningStack, image: bytes, offline: Offline) -> None:
    job_id = stack.submit(image, **REQUEST)
    stack.await_blocks(job_id)
    before = lasting(stack)
    shortage = FullMemory(EmbeddedRedis(stack.data_dir / "redis"))
    with stack.redis() as redis:
        shortage.begin()
        heartbeats = queue(redis, ENGINE_QUEUE).started_job_registry.key
        wait_for(lambda: redis.zcount(heartbeats, "-inf", time.time()), what="a heartbeat that is overdue")
        assert redis.exists(ledger_key(job_id)), "the job was over before Redis was full"
        shortage.end()
        document = stack.document(job_id)
        left = redis.hget(Job.key_for(rq_job_id(job_id, "certify")), "retries_left")
        assert left is None or int(left) == WorkerSettings().job_retries
    assert estimation_counts(document) == offline.estimation(document)
    assert len(before) == 6  # Redis, the API, intake, archive and engine, and the engine's own process
    assert lasting(stack) == before
