"""The RQ jobs of a job that is given up are deleted, also while a worker ends them."""

import time

import pytest
from redis import Redis
from rq.job import JobStatus

from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.queues import enqueue, rq_job
from certrad.workers.contract.stages import forget_stages, stop_stages
from certrad.workers.settings import WorkerSettings

pytestmark = pytest.mark.integration


def test_a_stage_whose_execution_ended_after_it_was_listed_is_deleted(redis: Redis, settings: WorkerSettings) -> None:
    enqueue(redis, "certify", "job", settings=settings, tenant=LOCAL_TENANT)
    sent = rq_job(redis, "certify", "job")
    assert sent is not None
    sent.set_status(JobStatus.STARTED)
    redis.zadd(sent.execution_registry.key, {"ended": time.time() + 600})  # its own entry is gone already
    forget_stages(redis, "job")
    assert rq_job(redis, "certify", "job") is None


def test_a_stage_that_a_worker_ends_while_its_job_is_cancelled_is_deleted(
    redis: Redis, settings: WorkerSettings
) -> None:
    enqueue(redis, "certify", "job", settings=settings, tenant=LOCAL_TENANT)
    sent = rq_job(redis, "certify", "job")
    assert sent is not None
    redis.zadd(sent.execution_registry.key, {"ended": time.time() + 600})
    stop_stages(redis, "job")
    assert rq_job(redis, "certify", "job") is None
