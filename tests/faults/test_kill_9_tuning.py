"""`kill -9` of the engine in mid-tuning: the job goes on at its last epoch, to the prompt it would have made."""

from typing import Any

import pytest
from rq.job import Job

from certrad.workers.contract.names import ledger_key
from certrad.workers.contract.queues import rq_job_id
from certrad.workers.settings import WorkerSettings
from tests.support.archives import classes, zipped
from tests.support.engine_jobs import events_of
from tests.support.processes import Processes, kill_9, wait_for
from tests.support.stack import JOB_SECONDS, RunningStack, start_stack

pytestmark = pytest.mark.system

ARCHIVE = zipped(classes(["ant", "bee", "cow"], 18))
EPOCHS = 30
FEW_SHOT = {"name": "mine", "epochs": EPOCHS}
ADVPT = {"name": "mine", "method": "advpt", "shots": 16, "epochs": 10}


@pytest.fixture(scope="module")
def stack(module_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    return start_stack(module_processes, tmp_path_factory.mktemp("stack") / "data", threads=1)


def succeeded(stack: RunningStack, job_id: str) -> dict[str, Any]:
    job = stack.ended(job_id)
    assert job["status"] == "succeeded", job["error"]
    result: dict[str, Any] = job["result"]
    return result


def kill_the_engine(stack: RunningStack, job_id: str) -> None:
    victim = wait_for(lambda: stack.child("certrad.workers.engine.process"), what="the engine")
    kill_9(victim.pid)
    assert stack.job(job_id)["status"] == "running", "the job was over before the kill"


def was_repeated(stack: RunningStack, job_id: str) -> bool:
    with stack.redis() as redis:
        left = redis.hget(Job.key_for(rq_job_id(job_id, "tune")), "retries_left")
    return left is not None and int(left) < WorkerSettings().job_retries


def epochs_told(stack: RunningStack, job_id: str) -> list[int]:
    """The epochs of the progress events, in their order; one that is gone on from is told again."""
    with stack.redis() as redis:
        events = events_of(redis, job_id)
    return [data["epochs_done"] for _, data in events if "epochs_done" in data]


def test_kill_9_of_the_engine_costs_one_epoch_and_keeps_the_prompt(stack: RunningStack) -> None:
    undisturbed = succeeded(stack, stack.tune(ARCHIVE, **FEW_SHOT))
    job_id = stack.tune(ARCHIVE, **FEW_SHOT)
    wait_for(lambda: stack.job(job_id)["progress"]["epochs_done"] >= 3, timeout=JOB_SECONDS, what="some epochs")
    kill_the_engine(stack, job_id)
    assert succeeded(stack, job_id) == undisturbed
    assert was_repeated(stack, job_id)
    told = epochs_told(stack, job_id)
    assert sorted(set(told)) == list(range(1, EPOCHS + 1))
    assert len(told) <= EPOCHS + 1, "an epoch was done twice"


def test_kill_9_of_the_engine_keeps_what_is_done_of_the_bank(stack: RunningStack) -> None:
    undisturbed = succeeded(stack, stack.tune(ARCHIVE, **ADVPT))
    job_id = stack.tune(ARCHIVE, **ADVPT)
    with stack.redis() as redis:
        wait_for(lambda: redis.hlen(ledger_key(job_id)) > 0, timeout=JOB_SECONDS, what="the first rows")
    kill_the_engine(stack, job_id)
    assert succeeded(stack, job_id) == undisturbed
    assert was_repeated(stack, job_id)
