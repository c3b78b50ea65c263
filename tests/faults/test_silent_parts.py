"""A part of the service that runs and does not answer is replaced, and its job goes on."""

import httpx
import pytest

from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.offline import Offline, estimation_counts
from tests.support.processes import Processes, wait_for
from tests.support.stack import START_SECONDS, RunningStack, start_stack

pytestmark = pytest.mark.system

REQUEST = {"prompt": "template", "adaptation": "none", "sigma": 0.5, "n0": 64, "n": 4_000}
PARTS = {
    "api": ("certrad.app.http.server",),
    "intake-1": ("worker intake",),
    "redis": ("redis.sock",),
    "engine-1": ("worker engine",),
}


@pytest.fixture(scope="module")
def stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    return start_stack(module_processes, tmp_path_factory.mktemp("stack") / "data", threads=1)


def ready(stack: RunningStack) -> bool:
    try:
        return httpx.get(f"{stack.url}/health/ready", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


def pids(stack: RunningStack) -> dict[str, int]:
    """The process of each part."""
    return {name: wait_for(lambda: stack.child(*words), what=name).pid for name, words in PARTS.items()}  # noqa: B023


def test_a_redis_whose_socket_is_gone_is_started_again_with_its_data(stack: RunningStack) -> None:
    victim = wait_for(lambda: stack.child("redis.sock"), what="Redis")
    with stack.redis() as redis:
        redis.set("kept", "value")
    EmbeddedRedis(stack.data_dir / "redis").socket_path.unlink()
    assert not ready(stack)
    wait_for(lambda: ready(stack), what="a service that is ready")
    assert stack.another_child(victim, "redis.sock")
    with stack.redis() as redis:
        assert redis.get("kept") == b"value"


@pytest.mark.parametrize(
    "name", ["api", "engine-1", *(pytest.param(name, marks=pytest.mark.soak) for name in ("intake-1", "redis"))]
)
def test_a_part_that_stands_still_is_replaced_and_no_other(
    stack: RunningStack, module_processes: Processes, name: str
) -> None:
    wait_for(stack.engines, timeout=START_SECONDS, what="an engine")
    before = pids(stack)
    victim = wait_for(lambda: stack.child(*PARTS[name]), what="the part")
    victim.suspend()
    wait_for(lambda: stack.another_child(victim, *PARTS[name]), what="another process")
    wait_for(lambda: ready(stack), what="a service that is ready")
    assert {part for part, pid in pids(stack).items() if pid != before[part]} == {name}
    told = module_processes.errors(stack.data_dir.name).read_text()
    assert f"certrad: {name} runs and does not answer; it is ended and started again\n" in told


@pytest.mark.soak
def test_the_job_of_a_worker_that_stands_still_goes_on(stack: RunningStack, image: bytes, offline: Offline) -> None:
    wait_for(stack.engines, timeout=START_SECONDS, what="an engine")
    job_id = stack.submit(image, **REQUEST)
    stack.await_blocks(job_id)
    worker, engine = stack.child("worker engine"), stack.child("certrad.workers.engine.process")
    assert worker is not None
    assert engine is not None
    worker.suspend()
    engine.suspend()
    assert stack.job(job_id)["status"] == "running", "the job was over before the worker stood still"
    wait_for(lambda: stack.another_child(worker, "worker engine"), what="another worker")
    document = stack.document(job_id)
    assert estimation_counts(document) == offline.estimation(document)
