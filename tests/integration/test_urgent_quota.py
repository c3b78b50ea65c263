"""The bound of a tenant's urgent jobs is exact whoever else submits, and a job that ends makes room."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.contract.job import UrgentQuotaError
from certrad.workers.contract.names import JOBS, urgent_key
from certrad.workers.contract.records import Records
from certrad.workers.contract.submission import Submission
from tests.support.api import PNG
from tests.support.problems import assert_problem

pytestmark = pytest.mark.integration

NORMAL = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)
URGENT = replace(NORMAL, urgent=True)
QUOTA = 3
Create = Callable[..., bool]


@pytest.fixture
def create(redis: Redis) -> Create:
    """Creates a job and returns whether it was accepted."""
    records = Records(redis, ttl=600)

    def created(job_id: str, request: CertifyRequest = URGENT, *, tenant: str = "radiology") -> bool:
        submission = Submission(tenant=tenant)
        try:
            records.create(job_id, request, max_active=100, digest=job_id, max_urgent=QUOTA, submission=submission)
        except UrgentQuotaError:
            return False
        return True

    return created


def test_as_many_are_accepted_as_the_quota_says_however_many_come_at_once(redis: Redis, create: Create) -> None:
    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(create, (f"job-{number}" for number in range(24))))
    assert sum(accepted) == redis.zcard(JOBS) == QUOTA


def test_neither_normal_jobs_nor_another_tenants_urgent_ones_count(create: Create) -> None:
    assert all(create(f"job-{number}") for number in range(QUOTA))
    assert not create("one-more")
    assert create("normal", NORMAL)
    assert create("other", tenant="cardiology")


def test_a_job_that_ended_or_was_erased_makes_room(redis: Redis, create: Create) -> None:
    records = Records(redis, ttl=600)
    assert all(create(f"job-{number}") for number in range(QUOTA))
    records.fail("job-0", "internal_error", "")
    assert create("after-the-end")
    assert not create("one-more")
    records.erase("job-1")
    assert create("after-the-erasure")
    assert redis.zcard(urgent_key("radiology")) == QUOTA


def test_a_job_counts_for_as_long_as_it_runs_and_no_longer(redis: Redis, create: Create) -> None:
    assert create("job-0")
    assert redis.ttl(urgent_key("radiology")) == -1  # it never expires
    assert Records(redis, ttl=600).cancel("job-0")
    assert not redis.exists(urgent_key("radiology"))


def test_the_answer_says_what_is_wrong_and_when_to_try_again(redis: Redis, api_settings: ApiSettings) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"max_urgent": 1}))) as api:
        assert api.post("/certify", content=PNG, params={"priority": "urgent"}).status_code == 202
        refused = api.post("/certify", content=PNG, params={"priority": "urgent"})
        assert_problem(refused, "urgent_quota_exceeded")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert api.post("/certify", content=PNG).status_code == 202
    assert len(list(api_settings.blobs_dir.iterdir())) == redis.zcard(JOBS) == 2
