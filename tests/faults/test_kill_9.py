"""`kill -9` of any process in mid-job: the job finishes by itself, with the counts it would have had."""

from collections.abc import Callable

import pytest
from rq.job import Job

from certrad.workers.contract.queues import rq_job_id
from certrad.workers.settings import WorkerSettings
from tests.support.offline import Offline, estimation_counts
from tests.support.processes import Processes, kill_9, wait_for
from tests.support.stack import RunningStack, start_stack

pytestmark = pytest.mark.system

# So many samples that a quick processor takes seconds, in which the kill comes for certain.
REQUEST = {"prompt": "template", "adaptation": "none", "sigma": 0.5, "n0": 64, "n": 4_000}
ADAPTED = {**REQUEST, "adaptation": "zero_shot", "n": 3_000}


@pytest.fixture(scope="module")
def stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    return start_stack(module_processes, tmp_path_factory.mktemp("stack") / "data", threads=1)


@pytest.fixture
def kill_in_mid_job(stack: RunningStack, image: bytes) -> Callable[..., str]:
    """Kills a process of the stack while a job samples; returns the job."""

    def kill(*words: str, request: dict[str, object] = REQUEST) -> str:
        job_id = stack.submit(image, **request)
        stack.await_blocks(job_id)
        victim = wait_for(lambda: stack.child(*words), what="the victim")
        kill_9(victim.pid)
        assert stack.job(job_id)["status"] == "running", "the job was over before the kill"
        return job_id

    return kill


def was_repeated(stack: RunningStack, job_id: str) -> bool:
    """Returns whether the job was started again, once or, on a machine so busy that heartbeats stay out, more often."""
    with stack.redis() as redis:
        left = redis.hget(Job.key_for(rq_job_id(job_id, "certify")), "retries_left")
    return left is not None and int(left) < WorkerSettings().job_retries


def test_kill_9_of_the_engine_leaves_the_counts_as_they_are(
    stack: RunningStack, kill_in_mid_job: Callable[..., str], offline: Offline
) -> None:
    job_id = kill_in_mid_job("certrad.workers.engine.process")
    document = stack.document(job_id)
    assert was_repeated(stack, job_id)
    assert estimation_counts(document) == offline.estimation(document)


def test_kill_9_of_the_rq_parent_leaves_the_counts_as_they_are(
    stack: RunningStack, kill_in_mid_job: Callable[..., str], offline: Offline
) -> None:
    job_id = kill_in_mid_job("worker engine")
    document = stack.document(job_id)
    assert was_repeated(stack, job_id)
    assert estimation_counts(document) == offline.estimation(document)


def test_kill_9_of_redis_leaves_the_counts_as_they_are(stack: RunningStack, image: bytes, offline: Offline) -> None:
    job_id = stack.submit(image, **REQUEST)
    stack.await_blocks(job_id)
    victim = wait_for(lambda: stack.child("redis.sock"), what="Redis")
    kill_9(victim.pid)
    wait_for(lambda: stack.another_child(victim, "redis.sock"), what="another Redis")
    document = stack.document(job_id)
    assert estimation_counts(document) == offline.estimation(document)


def test_kill_9_of_intake_and_api_leaves_the_counts_as_they_are(
    stack: RunningStack, kill_in_mid_job: Callable[..., str], offline: Offline
) -> None:
    job_id = kill_in_mid_job("worker", "intake")
    victim = wait_for(lambda: stack.child("certrad.app.http.server"), what="the API")
    kill_9(victim.pid)
    document = stack.document(job_id)
    assert estimation_counts(document) == offline.estimation(document)


def test_an_adapted_prompt_survives_kill_9_of_the_engine(
    stack: RunningStack, image: bytes, kill_in_mid_job: Callable[..., str]
) -> None:
    undisturbed = stack.document(stack.submit(image, **ADAPTED))
    job_id = kill_in_mid_job("certrad.workers.engine.process", request=ADAPTED)
    document = stack.document(job_id)
    assert was_repeated(stack, job_id)
    assert document == undisturbed
