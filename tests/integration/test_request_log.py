"""Each request has an id, and one log line that names no patient; the job that it makes bears the id on."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.contract import logs
from certrad.workers.contract.records import Records
from tests.support.api import PNG, submit
from tests.support.canaries import canary
from tests.support.keys import bearing, make_key

pytestmark = pytest.mark.integration

SECRET: Final = "DOE^JANE"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log that this process writes while the test runs."""
    root, path = logging.getLogger(), tmp_path / "log"
    handlers, level = root.handlers[:], root.level
    with path.open("w") as stream:
        logs.configure("api", stream)
        yield path
    root.handlers, root.level = handlers, level


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def access(log: Path) -> list[dict[str, Any]]:
    return [line for line in lines(log) if line["event"] == "request"]


def client_of(settings: ApiSettings, **changes: object) -> TestClient:
    return TestClient(create_app(settings.model_copy(update=changes)))


def test_the_id_of_the_client_is_returned_logged_and_kept_in_the_job(
    log: Path, api: TestClient, records: Records
) -> None:
    answer = api.post("/certify", content=PNG, headers={"x-request-id": "ris-4711.a"})
    assert answer.headers["x-request-id"] == "ris-4711.a"
    (line,) = access(log)
    job_id = answer.json()["id"]
    assert (line["request_id"], line["job_id"], line["tenant"]) == ("ris-4711.a", job_id, "local")
    record = records.read(job_id)
    assert record is not None
    assert record.submission.request_id == "ris-4711.a"


@pytest.mark.parametrize("given", [SECRET, "a" * 65, "", "a b", "a\u00e9".encode("latin-1")])
def test_an_id_that_is_no_plain_one_is_replaced(given: str | bytes, log: Path, api: TestClient) -> None:
    answer = api.get("/jobs", headers=[(b"x-request-id", given if isinstance(given, bytes) else given.encode())])
    made = answer.headers["x-request-id"]
    assert len(made) == 32
    assert access(log)[0]["request_id"] == made


def test_two_ids_for_one_request_are_replaced(log: Path, api: TestClient) -> None:
    made = api.get("/jobs", headers=[("x-request-id", "first"), ("x-request-id", "second")]).headers["x-request-id"]
    assert len(made) == 32
    assert access(log)[0]["request_id"] == made


def test_two_requests_without_an_id_get_two(api: TestClient) -> None:
    assert len({api.get("/jobs").headers["x-request-id"] for _ in range(2)}) == 2


def test_a_line_has_the_template_of_the_route_and_what_became_of_it(log: Path, api: TestClient) -> None:
    job_id = submit(api)
    body = api.get(f"/jobs/{job_id}", params={"name": SECRET}).content
    line = access(log)[-1]
    facts = {name: line[name] for name in ("method", "route", "status", "bytes", "job_id", "level", "process")}
    assert facts == {
        "method": "GET",
        "route": "/jobs/{job_id}",
        "status": 200,
        "bytes": len(body),
        "job_id": job_id,
        "level": "info",
        "process": "api",
    }
    assert line["milliseconds"] > 0
    assert "client" not in line


def test_a_head_request_has_its_route_too(log: Path, api: TestClient) -> None:
    api.head("/tasks")
    assert [(line["method"], line["route"]) for line in access(log)] == [("HEAD", "/tasks")]


def test_what_a_client_wrote_is_in_no_line(log: Path, api: TestClient) -> None:
    file = canary()
    name = next(iter(file.tokens)).decode()
    calls = [
        api.post("/certify", files={"image": (f"{name}.dcm", file.data)}, headers={"user-agent": name, "cookie": name}),
        api.post("/certify", content=file.data, params={"task": name, name: name}),
        api.get(f"/jobs/{name}", params={"name": name}),
        api.get(f"/{name}"),
        api.request(name, "/jobs"),
        api.post("/verify", content=file.data),
        api.get("/jobs", headers={"idempotency-key": name, "authorization": f"Bearer {name}", "host": name}),
    ]
    assert len(access(log)) == len(calls)
    assert file.found_in(log.read_bytes()) == set()


def test_a_refusal_is_logged_with_its_status(log: Path, api: TestClient) -> None:
    api.get(f"/{SECRET}")
    api.get("/jobs", headers={"host": "evil.example"})
    assert [(line["route"], line["status"]) for line in access(log)] == [("unmatched", 404), ("unmatched", 421)]


def test_probes_that_succeed_are_logged_only_where_the_operator_wants_it(
    log: Path, redis: Redis, api_settings: ApiSettings
) -> None:
    with client_of(api_settings) as quiet, client_of(api_settings, access_log_probes=True) as talking:
        for client in (quiet, talking):
            assert client.get("/health/live").status_code == client.get("/metrics").status_code == 200
    assert [line["route"] for line in access(log)] == ["/health/live", "/metrics"]


def test_a_probe_that_fails_is_logged(log: Path, api: TestClient) -> None:
    assert api.get("/health/workers").status_code == 503
    assert [line["status"] for line in access(log)] == [503]


def test_no_request_is_logged_where_the_operator_wants_none(log: Path, redis: Redis, api_settings: ApiSettings) -> None:
    with client_of(api_settings, access_log=False) as client:
        assert client.get("/jobs").headers["x-request-id"]
    assert access(log) == []


def test_the_address_of_the_client_is_logged_only_where_the_operator_wants_it(
    log: Path, redis: Redis, api_settings: ApiSettings
) -> None:
    with client_of(api_settings, access_log_client=True) as client:
        client.get("/jobs")
    assert [line["client"] for line in access(log)] == ["testclient"]


def test_a_line_names_the_tenant_and_the_key_of_the_caller(log: Path, redis: Redis, api_settings: ApiSettings) -> None:
    key = make_key(api_settings.access_dir, "radiology", ["read"])
    closed = api_settings.model_copy(update={"access": "closed"})
    with TestClient(create_app(closed)) as client:
        client.get("/tasks", headers=bearing(key))
        client.get("/tasks")
    assert (access(log)[-1]["tenant"], access(log)[-1]["key_id"]) == (None, None)
    line = access(log)[-2]
    assert (line["tenant"], line["key_id"]) == ("radiology", key.split("_")[1])


def test_a_defect_is_a_line_with_the_id_of_its_request(log: Path, redis: Redis, api_settings: ApiSettings) -> None:
    app = create_app(api_settings)

    def broken() -> None:
        raise ValueError(SECRET)

    app.add_api_route("/broken", broken)
    with TestClient(app) as client:
        answer = client.get("/broken")
    (defect,) = [line for line in lines(log) if line["level"] == "error"]
    assert defect["request_id"] == answer.headers["x-request-id"]
    assert (defect["error"], defect["event"].partition(":")[0]) == ("ValueError", "defect")
    assert SECRET not in log.read_text()
