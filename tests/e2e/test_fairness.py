"""Jobs take turns on a real stack: a flood, an estimate that comes true, a tuning that makes room for certificates."""

import json
import time
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from redis import Redis
from rq.job import Job

from certrad.workers.contract.names import events_key
from certrad.workers.contract.queues import rq_job_id
from certrad.workers.contract.records import Records
from tests.support.archives import classes, zipped
from tests.support.images import encoded, noise
from tests.support.processes import Processes, wait_for
from tests.support.stack import JOB_SECONDS, RunningStack, start_stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

FLOOD = 256


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A closed stack with one engine, in which a tuning has slices of a second."""
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        folder = tmp_path_factory.mktemp("stack") / "data"
        settings = {"threads": 1, "tuning_slice_seconds": 1, "job_retries": 3, "access": "closed"}
        yield start_stack(processes, folder, **settings).as_tenant("local")


def entered(redis: Redis, job_id: str, phase: str) -> float | None:
    """Returns when a job entered a phase, in seconds since 1970; None if it has not."""
    for entry, event in cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange(events_key(job_id))):
        if event[b"event"] == b"phase" and json.loads(event[b"data"])["phase"] == phase:
            return int(entry.partition(b"-")[0]) / 1000
    return None


def cancel(stack: RunningStack, job_id: str) -> None:
    """Cancels a job, or erases it."""
    httpx.delete(f"{stack.url}/jobs/{job_id}", headers=stack.headers, timeout=30).raise_for_status()


def send(stack: RunningStack) -> str:
    """Sends one image for the cheapest certificate."""
    return stack.submit(encoded(noise(48, 48), "png"), n=2_000, n0=64, prompt="template", adaptation="none")


def test_a_flood_delays_another_tenants_job_by_two_certificates_at_most(stack: RunningStack) -> None:
    flooding, other = stack.as_tenant("flood"), stack.as_tenant("single")
    flood = [send(flooding) for _ in range(FLOOD)]
    with stack.redis() as redis:
        records = Records(redis, ttl=600)
        wait_for(lambda: records.status(flood[2]) == "succeeded", timeout=JOB_SECONDS, what="the first certificates")
        sent, single = time.time(), send(other)
        other.ended(single)
        start, never = entered(redis, single, "loading"), float("inf")
        assert start is not None
        delaying = [
            job_id
            for job_id in flood
            if (entered(redis, job_id, "loading") or never) < start
            and (entered(redis, job_id, "finishing") or never) > sent
        ]
    for job_id in flood:
        cancel(flooding, job_id)
    assert 1 <= len(delaying) <= 2


def test_the_wait_that_is_told_comes_true_within_a_factor(stack: RunningStack) -> None:
    stack.ended(stack.submit(encoded(noise(48, 48), "png"), n=2_000, prompt="template", adaptation="none"))
    with stack.redis() as redis:
        jobs = [
            stack.submit(encoded(noise(48, 48, seed=number), "png"), n=2_000, prompt="template", adaptation="none")
            for number in range(1, 7)
        ]

        def told() -> dict[str, Any] | None:
            """Returns the estimate of the last job, once the whole line is known: it is worked out once a second."""
            estimate: dict[str, Any] = stack.job(jobs[-1])["estimate"]
            wait, run = estimate["wait_seconds"], estimate["run_seconds"]
            return estimate if wait is not None and run is not None and wait > 2 * run else None

        estimate, at = wait_for(told, timeout=60, what="an estimate of the whole line"), time.time()
        stack.ended(jobs[-1])
        start = entered(redis, jobs[-1], "loading")
    assert start is not None
    # Other processes may take the processors for any share of this time: a factor of 3 is a wide margin for a line in
    # which the measured error is a tenth.
    assert (start - at) / 3 < estimate["wait_seconds"] < 3 * (start - at) + 1


def test_a_tuning_makes_room_for_a_certificate_and_goes_on(stack: RunningStack) -> None:
    archive = zipped(classes(["ant", "bee", "cow"], 20))
    job_id = stack.tune(archive, name="long", method="few_shot", backbone="demo", shots=16, epochs=1_000)
    with stack.redis() as redis:
        wait_for(lambda: stack.job(job_id)["progress"]["phase"] == "tuning", timeout=JOB_SECONDS, what="the tuning")
        first = stack.ended(stack.submit(encoded(noise(48, 48), "png"), n=1_000))
        before = stack.job(job_id)
        assert first["status"] == "succeeded"
        assert before["status"] == "running"
        done = before["progress"]["epochs_done"]
        wait_for(lambda: stack.job(job_id)["progress"]["epochs_done"] > done, timeout=JOB_SECONDS, what="an epoch")
        assert redis.hget(Job.key_for(rq_job_id(job_id, "tune")), "retries_left") == b"3"
    cancel(stack, job_id)
