"""Workers of a Redis that takes no writes for a while: none dies, no job is begun again, and none loses a retry."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGTERM

import pytest
from redis import Redis
from rq import Worker
from rq.job import Job, JobStatus

from certrad.workers.contract.exit_codes import REDIS_AWAY
from certrad.workers.contract.names import ENGINE_QUEUE
from certrad.workers.contract.queues import queue
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.conftest import worker_settings
from tests.support import probes
from tests.support.processes import Processes, environment, wait_for
from tests.support.shortages import SHORTAGES, FullMemory, Shortage

pytestmark = pytest.mark.integration

StartWorker = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of the test's own."""
    with EmbeddedRedis(tmp_path / "redis", maxmemory="64mb") as server:
        yield server


@pytest.fixture
def client(own_redis: EmbeddedRedis) -> Redis:
    return Redis.from_url(own_redis.url)


@pytest.fixture
def start_worker(own_redis: EmbeddedRedis, tmp_path: Path, processes: Processes) -> StartWorker:
    env = environment(worker_settings(own_redis.url, tmp_path / "data"))
    return lambda name: processes.start(["-m", "tests.support.probe_worker"], name=name, env=env)


def idle(client: Redis) -> int:
    return sum(worker.get_state() == "idle" for worker in Worker.all(client))


@pytest.mark.parametrize("kind", SHORTAGES.values(), ids=SHORTAGES)
def test_a_running_job_outlasts_it_with_all_its_retries(
    own_redis: EmbeddedRedis, client: Redis, start_worker: StartWorker, kind: Callable[[EmbeddedRedis], Shortage]
) -> None:
    workers = [start_worker("one"), start_worker("other")]
    wait_for(lambda: idle(client) == 2)
    job, shortage = probes.send(client, probes.walk, retries=3), kind(own_redis)
    wait_for(lambda: probes.steps(client) > 2)
    shortage.begin()
    heartbeats = queue(client, ENGINE_QUEUE).started_job_registry.key
    wait_for(lambda: client.zcount(heartbeats, "-inf", time.time()), what="a heartbeat that is overdue")
    assert probes.steps(client) < probes.STEPS
    shortage.end()
    wait_for(lambda: job.get_status() == JobStatus.FINISHED)
    assert len(probes.pids(client)) == 1
    assert Job.fetch(job.id, client, serializer=job.serializer).retries_left == 3
    assert [worker.poll() for worker in workers] == [None, None]


@pytest.mark.parametrize("kind", SHORTAGES.values(), ids=SHORTAGES)
def test_a_worker_that_is_born_into_it_waits(
    own_redis: EmbeddedRedis,
    client: Redis,
    start_worker: StartWorker,
    processes: Processes,
    kind: Callable[[EmbeddedRedis], Shortage],
) -> None:
    shortage = kind(own_redis)
    shortage.begin()
    worker = start_worker("worker")
    waits = "redis takes no writes"
    wait_for(lambda: worker.poll() is not None or waits in processes.errors("worker").read_text())
    assert worker.poll() is None
    shortage.end()
    wait_for(lambda: idle(client) == 1)


def test_an_idle_worker_that_is_to_stop_ends_although_redis_is_full(
    own_redis: EmbeddedRedis, client: Redis, start_worker: StartWorker, processes: Processes
) -> None:
    worker = start_worker("worker")
    wait_for(lambda: idle(client) == 1)
    FullMemory(own_redis).begin()
    wait_for(lambda: "redis takes no writes" in processes.errors("worker").read_text())
    worker.send_signal(SIGTERM)
    wait_for(lambda: worker.poll() is not None)


def test_a_worker_that_loses_redis_for_good_says_so_by_its_exit_code(
    own_redis: EmbeddedRedis, tmp_path: Path, processes: Processes
) -> None:
    settings = worker_settings(own_redis.url, tmp_path / "data")
    own_redis.stop()
    worker = processes.start(["-c", IMPATIENT], env=environment(settings))
    assert wait_for(lambda: (worker.poll() is not None and [worker.returncode]) or None) == [REDIS_AWAY]


IMPATIENT = """
from certrad.workers import connection
connection._ATTEMPTS = 1
from certrad.workers.cli import worker
from certrad.workers.contract.arguments import Parser
parser = Parser("worker", "")
worker.add_arguments(parser)
raise SystemExit(worker.run(parser.parse(["intake"])))
"""
