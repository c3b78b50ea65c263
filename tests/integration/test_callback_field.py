"""The field `callback` is kept for a host of the list, refused for any other, and noted when the job ends."""

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import CALLBACKS, DEAD_CALLBACKS, callback_key
from certrad.workers.contract.records import Records
from tests.support.api import PNG, assert_nothing_left, submit
from tests.support.archives import classes, zipped
from tests.support.problems import Response, assert_problem, refused_fields
from tests.support.results import abstained

pytestmark = pytest.mark.integration

ADDRESS = "https://ris.example:8443/ended?of=certrad"


@pytest.fixture
def api_settings(api_settings: ApiSettings) -> ApiSettings:
    """Returns the settings of an API whose installation sends callbacks."""
    return api_settings.model_copy(update={"callback_hosts": "ris.example:8443"})


def note(redis: Redis, job_id: str) -> dict[str, str]:
    """Returns what is noted about the callback of a job."""
    fields: dict[bytes, bytes] = redis.hgetall(callback_key(job_id))  # type: ignore[assignment]  # not asynchronous
    return {name.decode(): value.decode() for name, value in fields.items()}


def test_the_address_is_kept_with_the_job_and_not_shown(api: TestClient, records: Records) -> None:
    job_id = submit(api, callback="https://RIS.example:8443/ended?of=certrad")
    record = records.read(job_id)
    assert record is not None
    assert record.submission.callback == ADDRESS
    assert "ris.example" not in api.get(f"/jobs/{job_id}").text


@pytest.mark.parametrize("other", [{}, {"callback": "https://ris.example:8443/elsewhere"}])
def test_the_same_key_with_another_address_is_a_conflict(
    api: TestClient, api_settings: ApiSettings, other: dict[str, str]
) -> None:
    def sent(fields: dict[str, str]) -> Response:
        return api.post("/certify", content=PNG, params=fields, headers={"idempotency-key": "k1"})

    first = sent({"callback": ADDRESS}).json()["id"]
    assert_problem(sent(other), "idempotency_conflict")
    assert sent({"callback": ADDRESS}).json()["id"] == first
    assert [path.name for path in api_settings.blobs_dir.iterdir()] == [first]


def test_metrics_count_the_callbacks_that_wait(api: TestClient, records: Records) -> None:
    waits = submit(api, callback=ADDRESS)
    assert "certrad_callbacks_waiting 0.0" in api.get("/metrics").text
    records.cancel(waits)
    assert "certrad_callbacks_waiting 1.0" in api.get("/metrics").text


def test_a_tuning_takes_it_too(api: TestClient, records: Records) -> None:
    archive = zipped(classes(["cat", "dog"], 2))
    response = api.post("/prompts", files={"images": ("a.zip", archive)}, data={"callback": ADDRESS})
    assert response.status_code == 202, response.text
    record = records.read(response.json()["id"])
    assert record is not None
    assert record.submission.callback == ADDRESS


@pytest.mark.parametrize("path", ["/certify", "/prompts"])
def test_a_host_that_is_not_on_the_list_is_refused_and_leaves_nothing(
    api: TestClient, redis: Redis, api_settings: ApiSettings, path: str
) -> None:
    archive = zipped(classes(["cat", "dog"], 2))
    files = {"image": ("a.png", PNG)} if path == "/certify" else {"images": ("a.zip", archive)}
    response = api.post(path, files=files, data={"callback": "https://evil.example:8443/patient-0815"})
    assert_problem(response, "callback_not_allowed")
    assert "patient-0815" not in response.text
    assert_nothing_left(redis, api_settings)


def test_an_address_of_another_form_is_a_wrong_field(api: TestClient) -> None:
    response = api.post("/certify", content=PNG, params={"callback": "https://user@ris.example:8443/"})
    assert refused_fields(response) == ["callback"]


class TestWithoutAList:
    @pytest.fixture
    def api_settings(self, api_settings: ApiSettings) -> ApiSettings:
        return api_settings.model_copy(update={"callback_hosts": ""})

    def test_no_callback_is_taken(self, api: TestClient) -> None:
        response = api.post("/certify", content=PNG, params={"callback": ADDRESS})
        assert_problem(response, "callback_not_allowed")


def test_nothing_is_due_before_the_job_ends(api: TestClient, redis: Redis, records: Records) -> None:
    job_id = submit(api, callback=ADDRESS)
    records.enter(job_id, "decoding")
    assert redis.zcard(CALLBACKS) == 0


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_every_end_is_noted_with_the_end_itself(status: str, api: TestClient, redis: Redis, records: Records) -> None:
    job_id = submit(api, callback=ADDRESS)
    match status:
        case "succeeded":
            records.succeed(job_id, abstained(), certificate="0" * 64)
        case "failed":
            records.fail(job_id, "worker_lost", "gone")
        case "cancelled":
            assert api.delete(f"/jobs/{job_id}").status_code == 200
    record = records.read(job_id)
    assert record is not None
    assert record.status == status
    assert note(redis, job_id) == {
        "address": ADDRESS,
        "tenant": "local",
        "status": status,
        "ended_at": repr(record.updated_at),
        "attempts": "0",
        "reason": "",
    }
    assert redis.zscore(CALLBACKS, job_id) == record.updated_at


def test_a_second_end_is_not_noted(api: TestClient, redis: Redis, records: Records) -> None:
    job_id = submit(api, callback=ADDRESS)
    records.fail(job_id, "worker_lost", "gone")
    redis.zrem(CALLBACKS, job_id)  # it was delivered meanwhile
    records.succeed(job_id, abstained())
    assert redis.zcard(CALLBACKS) == 0


def test_a_job_without_a_callback_leaves_no_note(api: TestClient, redis: Redis, records: Records) -> None:
    job_id = submit(api)
    records.fail(job_id, "worker_lost", "gone")
    assert redis.zcard(CALLBACKS) == 0
    assert note(redis, job_id) == {}


def test_erasing_a_job_erases_its_callback(api: TestClient, redis: Redis, records: Records) -> None:
    job_id = submit(api, callback=ADDRESS)
    records.fail(job_id, "worker_lost", "gone")
    redis.zadd(DEAD_CALLBACKS, {job_id: 1.0})
    assert api.delete(f"/jobs/{job_id}").status_code == 204
    assert redis.zcard(CALLBACKS) == redis.zcard(DEAD_CALLBACKS) == 0
    assert note(redis, job_id) == {}
