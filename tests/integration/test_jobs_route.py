"""Jobs are read, listed, followed and ended over HTTP."""

import asyncio
import json
import threading
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from certrad.app.api import events
from certrad.app.api.news import News
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS
from certrad.models.types.image import IMAGE_WARNINGS
from certrad.workers.contract.names import INTAKE_QUEUE, events_key, record_key
from certrad.workers.contract.queues import queue, rq_job
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.api import PNG, assert_nothing_left, submit
from tests.support.image_facts import image_facts
from tests.support.problems import assert_problem
from tests.support.results import abstained


@pytest.mark.parametrize("path", ["/jobs/nobody", "/jobs/x:events", "/jobs/nobody/events", "/jobs/nobody/certificate"])
def test_unknown_job_is_a_problem(api: TestClient, path: str) -> None:
    assert_problem(api.get(path), "job_not_found")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/certificate")])
def test_job_whose_record_cannot_be_read_says_so(api: TestClient, redis: Redis, method: str, path: str) -> None:
    job_id = submit(api)
    redis.hset(record_key(job_id), "request", "{")
    assert_problem(api.request(method, f"/jobs/{job_id}{path}"), "job_unreadable")


def test_unknown_job_cannot_be_deleted(api: TestClient) -> None:
    assert_problem(api.delete("/jobs/nobody"), "job_not_found")


def test_failed_job_carries_its_problem(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.fail(job_id, "unreadable_image", "the file is truncated")
    job = api.get(f"/jobs/{job_id}").json()
    assert job["status"] == "failed"
    assert job["error"] == {
        "type": "urn:certrad:problem:unreadable_image",
        "title": PROBLEMS["unreadable_image"].title,
        "status": 422,
        "code": "unreadable_image",
        "detail": "the file is truncated",
        "instance": f"/jobs/{job_id}",
    }


def test_cancelled_job_leaves_no_rq_job_and_no_upload(
    api: TestClient, redis: Redis, records: Records, api_settings: ApiSettings
) -> None:
    job_id = submit(api)
    answer = api.delete(f"/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert rq_job(redis, "decode", job_id) is None
    assert queue(redis, INTAKE_QUEUE).job_ids == []
    assert not list(api_settings.blobs_dir.iterdir())
    assert records.active() == []


def test_ended_job_is_erased_with_everything(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    job_id = submit(api)
    api.delete(f"/jobs/{job_id}")
    assert api.delete(f"/jobs/{job_id}").status_code == 204
    assert_problem(api.get(f"/jobs/{job_id}"), "job_not_found")
    assert_nothing_left(redis, api_settings)


def listed(api: TestClient) -> list[str]:
    """The ids of every page of the list, two jobs a page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get("/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
        if cursor is None:
            return found


def test_list_pages_newest_first_and_misses_none(api: TestClient) -> None:
    submitted = [submit(api) for _ in range(5)]
    assert listed(api) == submitted[::-1]


def test_list_goes_on_past_jobs_that_expired(api: TestClient, redis: Redis) -> None:
    submitted = [submit(api) for _ in range(7)]
    redis.delete(*(record_key(job_id) for job_id in submitted[2:5]))
    assert listed(api) == [submitted[index] for index in (6, 5, 1, 0)]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"cursor": "nan"}])
def test_list_refuses_a_bad_page(api: TestClient, query: dict[str, str]) -> None:
    assert_problem(api.get("/jobs", params=query), "invalid_request")


def test_list_refuses_unknown_fields(api: TestClient) -> None:
    assert_problem(api.get("/jobs", params={"size": "3"}), "unknown_field")


def stream(api: TestClient, job_id: str, **headers: str) -> list[dict[str, str]]:
    """Every event of a job until the stream ends."""
    found: list[dict[str, str]] = []
    with api.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = "".join(response.iter_text())
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append(fields)
    return found


def test_events_come_in_order_until_the_end(api: TestClient, records: Records) -> None:
    job_id = submit(api)

    def work() -> None:
        records.enter(job_id, "decoding")
        records.progress(job_id, samples_done=64, samples_total=10_100, counts=(64, 0), invalid=0)
        records.fail(job_id, "internal_error", "")

    thread = threading.Thread(target=work)
    thread.start()
    seen = stream(api, job_id)
    thread.join()
    assert [event["event"] for event in seen] == ["phase", "progress", "end"]
    assert json.loads(seen[1]["data"])["samples_total"] == 10_100
    assert json.loads(seen[-1]["data"]) == {"status": "failed", "code": "internal_error"}


def test_a_job_shows_the_warnings_of_its_image_before_any_result(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    assert api.get(f"/jobs/{job_id}").json()["warnings"] == []
    records.enter(job_id, "waiting", image=replace(image_facts(), warnings=("low_contrast",)))
    expected = [{"code": "low_contrast", "message": IMAGE_WARNINGS["low_contrast"]}]
    assert api.get(f"/jobs/{job_id}").json()["warnings"] == expected


def test_a_job_with_a_target_shows_its_running_radius(api: TestClient, records: Records) -> None:
    answer = api.post("/certify", files={"image": PNG}, data={"sigma": "0.25", "target_radius": "0.1"})
    job_id = answer.json()["id"]
    assert answer.json()["request"]["params"]["target_radius"] == 0.1
    assert "running_radius" not in answer.json()["progress"]
    records.enter(job_id, "estimating")
    records.progress(job_id, samples_done=164, samples_total=10_100, counts=(64, 0), invalid=0, running_radius=0.0612)
    records.cancel(job_id)
    assert api.get(f"/jobs/{job_id}").json()["progress"]["running_radius"] == 0.0612
    told = [json.loads(event["data"]) for event in stream(api, job_id) if event["event"] == "progress"]
    assert [data["running_radius"] for data in told] == [0.0612]


def test_events_go_on_after_the_last_one_seen(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.enter(job_id, "decoding")
    records.enter(job_id, "waiting")
    records.cancel(job_id)
    seen = stream(api, job_id)
    rest = stream(api, job_id, **{"last-event-id": seen[0]["id"]})
    assert rest == seen[1:]
    assert stream(api, job_id, **{"last-event-id": seen[-1]["id"]}) == []


@pytest.mark.parametrize("after", [None, "1-0"])
def test_reader_that_comes_after_the_events_are_gone_gets_the_end(
    api: TestClient, redis: Redis, records: Records, after: str | None
) -> None:
    job_id = submit(api)
    records.enter(job_id, "decoding")
    records.succeed(job_id, abstained(100), certificate="0" * 64)
    told = stream(api, job_id)[-1]["data"]
    redis.delete(events_key(job_id))  # as Redis does in the end
    (last,) = stream(api, job_id, **({"last-event-id": after} if after else {}))
    assert (last["event"], last["data"]) == ("end", told)
    assert stream(api, job_id, **{"last-event-id": last["id"]}) == []


def test_reader_that_comes_late_is_told_why_a_job_failed(api: TestClient, redis: Redis, records: Records) -> None:
    job_id = submit(api)
    records.fail(job_id, "unreadable_image", "the file is truncated")
    redis.delete(events_key(job_id))
    (last,) = stream(api, job_id)
    assert json.loads(last["data"]) == {"status": "failed", "code": "unreadable_image"}


def test_event_that_was_read_is_not_read_again(api: TestClient, records: Records, redis_server: EmbeddedRedis) -> None:
    job_id = submit(api)
    records.enter(job_id, "decoding")

    async def read() -> list[str]:
        names: list[str] = []
        async with AsyncRedis.from_url(redis_server.url, protocol=2) as client:
            news = News(client)
            async for event in events.follow(events.Source(redis=client, news=news), job_id, beat=1.0):
                assert event is not None
                names.append(event.name)
                records.fail(job_id, "internal_error", "")
            await news.close()
        return names

    assert asyncio.run(read()) == ["phase", "end"]


@pytest.mark.parametrize("event_id", ["$", "0", "1-", "-1-0", f"{2**64}-0", f"0-{2**64}"])
def test_last_event_id_that_is_none_is_refused(api: TestClient, records: Records, event_id: str) -> None:
    job_id = submit(api)
    records.cancel(job_id)
    assert_problem(api.get(f"/jobs/{job_id}/events", headers={"last-event-id": event_id}), "invalid_request")


def test_greatest_event_id_is_one(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.cancel(job_id)
    assert stream(api, job_id, **{"last-event-id": f"{2**64 - 1}-{2**64 - 1}"}) == []
