"""One engine process serves many jobs, and every way a process can end leaves the job where it belongs."""

import subprocess
import sys
from collections.abc import Callable
from signal import SIGTERM

import psutil
import pytest
from redis import Redis
from rq import Queue, Worker
from rq.command import send_stop_job_command
from rq.job import Job, JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer

from certrad.workers.contract.names import ENGINE_QUEUE
from certrad.workers.settings import WorkerSettings
from tests.support import probes
from tests.support.processes import ROOT, Processes, children, environment, gone, kill_9, wait_for

pytestmark = pytest.mark.integration

StartWorker = Callable[..., subprocess.Popen[bytes]]
STOP_SECONDS = 120


@pytest.fixture
def start_worker(redis: Redis, settings: WorkerSettings, processes: Processes) -> StartWorker:
    def start(name: str = "worker", **changes: object) -> subprocess.Popen[bytes]:
        known = set(idle_workers(redis))
        env = environment(settings.model_copy(update=changes))
        worker = processes.start(["-m", "tests.support.probe_worker"], name=name, env=env)
        wait_for(lambda: set(idle_workers(redis)) - known, what="a worker waiting for jobs")
        return worker

    return start


def idle_workers(redis: Redis) -> list[str]:
    return [worker.name for worker in Worker.all(redis) if worker.get_state() == "idle"]


def finished(job: Job) -> bool:
    return job.get_status() == JobStatus.FINISHED


def engine_of(worker: subprocess.Popen[bytes]) -> psutil.Process:
    (engine,) = children(worker.pid)
    return engine


def test_one_engine_process_serves_every_job(redis: Redis, start_worker: StartWorker) -> None:
    worker = start_worker()
    jobs = [probes.send(redis, probes.mark) for _ in range(3)]
    wait_for(lambda: all(map(finished, jobs)))
    assert probes.pids(redis) == [engine_of(worker).pid] * 3


def test_engine_outlives_a_job_that_raises(redis: Redis, start_worker: StartWorker) -> None:
    start_worker()
    failing = probes.send(redis, probes.fail, retries=0)
    following = probes.send(redis, probes.mark)
    wait_for(lambda: finished(following))
    assert failing.get_status() == JobStatus.FAILED
    assert len(set(probes.pids(redis))) == 1


def test_engine_outlives_a_job_that_exceeds_its_time(redis: Redis, start_worker: StartWorker) -> None:
    start_worker()
    slow = probes.send(redis, probes.hang, retries=0, timeout=1)
    following = probes.send(redis, probes.mark)
    wait_for(lambda: finished(following))
    assert slow.get_status() == JobStatus.FAILED
    assert len(set(probes.pids(redis))) == 1


def test_messages_of_exceptions_reach_neither_logs_nor_redis(
    redis: Redis, start_worker: StartWorker, processes: Processes
) -> None:
    start_worker()
    job = probes.send(redis, probes.fail, retries=1)
    wait_for(lambda: job.get_status() == JobStatus.FAILED)
    log = processes.errors("worker").read_text()
    assert "ValueError" in log
    assert probes.SECRET not in log
    result = Result.fetch_latest(job, serializer=JSONSerializer)
    assert result is not None
    assert result.exc_string == ""


def test_stopped_job_that_ends_by_itself_keeps_the_engine(redis: Redis, start_worker: StartWorker) -> None:
    worker = start_worker(cancel_grace_seconds=5)
    engine = engine_of(worker)
    job = probes.send(redis, probes.walk)
    wait_for(lambda: probes.steps(redis) > 2)
    redis.set("probe:token:cancelled", 1)
    send_stop_job_command(redis, job.id, serializer=JSONSerializer)
    wait_for(lambda: finished(job))
    following = probes.send(redis, probes.walk, "following")
    wait_for(lambda: finished(following), what="the next job, on which no late kill falls")
    assert probes.pids(redis, "following") == [engine.pid]


def test_stopped_job_that_does_not_end_is_killed_and_the_engine_replaced(
    redis: Redis, start_worker: StartWorker
) -> None:
    worker = start_worker()
    engine = engine_of(worker)
    job = probes.send(redis, probes.hang)
    wait_for(lambda: probes.pids(redis))
    send_stop_job_command(redis, job.id, serializer=JSONSerializer)
    wait_for(lambda: job.get_status() == JobStatus.STOPPED)
    assert gone(engine.pid)
    following = probes.send(redis, probes.mark, "following")
    wait_for(lambda: finished(following))
    assert probes.pids(redis, "following") == [engine_of(worker).pid]


def test_kill_9_of_the_engine_repeats_the_job_in_a_new_engine(redis: Redis, start_worker: StartWorker) -> None:
    worker = start_worker()
    job = probes.send(redis, probes.walk)
    wait_for(lambda: probes.steps(redis) > 2)
    kill_9(engine_of(worker).pid)
    wait_for(lambda: finished(job))
    assert len(set(probes.pids(redis))) == 2
    assert probes.steps(redis) == probes.STEPS


def test_an_idle_engine_that_died_is_replaced(redis: Redis, start_worker: StartWorker) -> None:
    engine = engine_of(start_worker())
    kill_9(engine.pid)
    wait_for(lambda: gone(engine.pid), what="the end of the engine")
    job = probes.send(redis, probes.mark)
    wait_for(lambda: finished(job))
    assert job.retries_left == 3


def test_kill_9_of_the_parent_ends_its_engine_and_another_worker_goes_on(
    redis: Redis, start_worker: StartWorker
) -> None:
    worker = start_worker("first")
    engine = engine_of(worker)
    job = probes.send(redis, probes.walk)
    wait_for(lambda: probes.steps(redis) > 2)
    kill_9(worker.pid)
    wait_for(lambda: gone(engine.pid), what="the end of the engine")
    start_worker("second")
    wait_for(lambda: finished(job))
    assert probes.steps(redis) == probes.STEPS


def test_sigterm_hands_the_running_job_back_at_no_cost(redis: Redis, start_worker: StartWorker) -> None:
    worker = start_worker("first")
    job = probes.send(redis, probes.walk)
    wait_for(lambda: probes.steps(redis) > 2)
    worker.send_signal(SIGTERM)
    assert worker.wait(STOP_SECONDS) == 0
    assert job.get_status() == JobStatus.QUEUED
    job.refresh()  # type: ignore[no-untyped-call]  # RQ has no types for it
    assert job.retries_left == 3
    assert probes.steps(redis) < probes.STEPS
    start_worker("second")
    wait_for(lambda: finished(job))
    assert probes.steps(redis) == probes.STEPS


def test_a_job_without_room_goes_behind_the_others_at_no_cost(redis: Redis, start_worker: StartWorker) -> None:
    job = probes.send(redis, probes.want_room, retries=1)
    other = probes.send(redis, probes.mark, "other", retries=1)
    start_worker()
    wait_for(lambda: finished(job))
    assert len(probes.pids(redis)) == 6
    earlier, later = (Job.fetch(each.id, redis, serializer=JSONSerializer).ended_at for each in (other, job))
    assert earlier is not None
    assert later is not None
    assert earlier < later
    assert Job.fetch(job.id, redis, serializer=JSONSerializer).retries_left == 1


def test_sigterm_ends_an_idle_worker_and_its_engine(redis: Redis, start_worker: StartWorker) -> None:
    worker = start_worker()
    engine = engine_of(worker)
    worker.send_signal(SIGTERM)
    assert worker.wait(STOP_SECONDS) == 0
    assert gone(engine.pid)
    assert Worker.all(redis) == []


def test_an_engine_that_gives_up_is_replaced_before_the_job_is_repeated(
    redis: Redis, start_worker: StartWorker
) -> None:
    start_worker()
    job = probes.send(redis, probes.poison)
    wait_for(lambda: finished(job))
    assert len(set(probes.pids(redis))) == 2
    job.refresh()  # type: ignore[no-untyped-call]  # RQ has no types for it
    assert job.retries_left == 2


def test_a_job_that_kills_its_engine_is_given_up_after_its_retries(redis: Redis, start_worker: StartWorker) -> None:
    start_worker()
    job = probes.send(redis, probes.die, retries=2)
    wait_for(lambda: job.get_status() == JobStatus.FAILED)
    assert len(probes.pids(redis)) == 3


def test_functions_off_the_list_are_refused(redis: Redis, start_worker: StartWorker) -> None:
    start_worker()
    queue = Queue(ENGINE_QUEUE, connection=redis, serializer=JSONSerializer)
    job = queue.enqueue_call(func="os.mkdir", args=("/tmp/certrad-refused",))
    wait_for(lambda: job.get_status() == JobStatus.FAILED)


@pytest.mark.parametrize("foreign", ["torch", "certrad.workers.engine.process"])
def test_the_parent_of_an_engine_never_imports_what_its_child_runs(foreign: str) -> None:
    code = f"import sys, certrad.workers.engine.worker, certrad.workers.cli.main; sys.exit({foreign!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
