"""Every response keeps the rules on hosts, headers, unknown addresses and defects."""

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from tests.support.api import PNG, assert_nothing_left, submit
from tests.support.problems import assert_problem


def test_unknown_address_and_method_are_problems(api: TestClient) -> None:
    assert_problem(api.get("/nowhere"), "not_found")
    answer = api.put("/certify")
    assert_problem(answer, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_allow_lists_every_method_of_the_path(api: TestClient) -> None:
    wanted = {
        "/certify": "POST",
        "/prompts": "GET, HEAD, POST",
        "/prompts/nobody": "DELETE, GET, HEAD, PATCH",
        "/jobs/nobody": "DELETE, GET, HEAD",
        "/health/live": "GET, HEAD",
        "/openapi.json": "GET, HEAD",
    }
    for path, methods in wanted.items():
        answer = api.put(path)
        assert_problem(answer, "method_not_allowed")
        assert answer.headers["allow"] == methods


def test_head_answers_as_get_without_a_body(api: TestClient) -> None:
    job = submit(api)
    for path in ("/health/live", "/health/ready", "/metrics", "/tasks", f"/jobs/{job}", "/openapi.json"):
        got, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # they count the GET too
            assert head.headers["content-length"] == got.headers["content-length"]
        assert head.headers["cache-control"] == got.headers["cache-control"]
    assert api.head("/jobs/nobody").status_code == 404
    assert api.head("/certify").status_code == 405
    assert api.head("/certify").headers["allow"] == "POST"


def test_head_of_an_event_stream_ends_at_once(api: TestClient) -> None:
    head = api.head(f"/jobs/{submit(api)}/events")  # of a job that has not ended and never will
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def test_head_on_a_real_socket_leaves_the_connection_usable(api_url: str) -> None:
    with httpx.Client(base_url=api_url, timeout=10) as client:
        job = client.post("/certify", content=PNG).json()["id"]
        for path in ("/health/live", f"/jobs/{job}", f"/jobs/{job}/events", "/metrics"):
            head = client.head(path)
            assert (head.status_code, head.content) == (200, b"")
        assert client.get(f"/jobs/{job}").json()["id"] == job


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.1.1:80", "[::1]", "[::1]:8000", "testserver:"]
)
def test_loopback_and_allowed_hosts_are_answered(api: TestClient, host: str) -> None:
    assert api.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
     "10.0.0.1", "[::2]:80", "[::1].evil.example", "::1", "", "localhost:80:80", "localhost,evil.example"],
)  # fmt: skip
def test_other_hosts_are_refused_and_leave_nothing_behind(
    api: TestClient, redis: Redis, api_settings: ApiSettings, host: str
) -> None:
    assert_problem(api.get("/jobs", headers={"host": host}), "host_not_allowed")
    assert_problem(api.post("/certify", content=PNG, headers={"host": host}), "host_not_allowed")
    assert_nothing_left(redis, api_settings)


MONITORING = ("/health/live", "/health/ready", "/metrics")


@pytest.mark.parametrize("host", ["10.0.0.1", "10.0.0.1:8000", "192.0.2.7", "[2001:db8::1]:8000", "[::2]:80"])
def test_probes_and_metrics_are_answered_at_the_address_of_a_container(api: TestClient, host: str) -> None:
    for path in MONITORING:
        assert api.get(path, headers={"host": host}).status_code == 200
        assert api.head(path, headers={"host": host}).status_code == 200
    assert_problem(api.get("/health/workers", headers={"host": host}), "no_worker")
    for path in ("/jobs", "/metrics/", "/health", "/openapi.json"):
        assert_problem(api.get(path, headers={"host": host}), "host_not_allowed")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1.evil.example", "10.0.0.1@evil.example", "", "::1"]
)
def test_probes_and_metrics_are_not_answered_to_a_foreign_name(api: TestClient, host: str) -> None:
    for path in MONITORING:
        assert_problem(api.get(path, headers={"host": host}), "host_not_allowed")


def test_host_given_twice_is_refused(api: TestClient) -> None:
    answer = api.get("/health/live", headers=[("host", "localhost"), ("host", "evil.example")])
    assert_problem(answer, "host_not_allowed")


def test_answers_are_not_cached_and_not_sniffed(api: TestClient) -> None:
    for answer in (api.get(f"/jobs/{submit(api)}"), api.get("/nowhere"), api.post("/certify", content=bytes(200_000))):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_defect_is_reported_without_what_was_sent(
    redis: Redis, api_settings: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(api_settings)

    def broken() -> None:
        raise ValueError("Jane Doe")

    app.add_api_route("/broken", broken)
    with TestClient(app) as api:
        answer = api.get("/broken")
    assert_problem(answer, "internal_error")
    output = caplog.text
    assert "ValueError" in output
    assert "broken" in output
    assert "Jane Doe" not in answer.text + output


@pytest.mark.parametrize(
    "path",
    ["/verify", "/rules/test", f"/certificates/{'0' * 64}/assessment", "/triggers/orthanc", "/triggers/study"],
)
@pytest.mark.parametrize("body", [bytes(200_000), [bytes(1_000)] * 200], ids=["declared", "counted"])
def test_body_over_the_limit_is_refused_wherever_one_is_taken(
    path: str, body: bytes | list[bytes], api: TestClient
) -> None:
    content = body if isinstance(body, bytes) else iter(body)
    assert_problem(api.post(path, content=content), "body_too_large")
