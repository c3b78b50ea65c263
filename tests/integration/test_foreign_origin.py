"""A page of another origin changes nothing; whatever is no browser, and the service's own page, are served."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.names import ACTIVE, JOBS
from tests.support.api import PNG, assert_nothing_left, card, submit
from tests.support.problems import assert_problem

FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://evil.example/localhost"},
    {"origin": "http://localhost:3000"},
    {"origin": "ftp://localhost"},
    {"origin": "localhost"},
    {"origin": ""},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    {"sec-fetch-site": "cross-site", "origin": "http://localhost"},
]
OWN = [
    {},
    {"origin": "http://localhost"},
    {"origin": "https://LocalHost"},
    {"origin": "http://localhost:80"},
    {"sec-fetch-site": "same-origin", "origin": "http://localhost"},
    {"sec-fetch-site": "none"},
]


def send(api: TestClient, method: str, path: str, headers: dict[str, str], **body: Any) -> Any:
    """Sends a request to `localhost`."""
    return api.request(method, path, headers={"host": "localhost", **headers}, **body)


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_cannot_submit(
    api: TestClient, redis: Redis, api_settings: ApiSettings, headers: dict[str, str]
) -> None:
    form: dict[str, Any] = {"files": {"image": ("a.png", PNG)}}
    plain: dict[str, Any] = {"content": b"plain text"}
    for path in ("/certify", "/prompts", "/verify"):
        for body in (form, plain):
            assert_problem(send(api, "POST", path, headers, **body), "foreign_origin")
    assert_nothing_left(redis, api_settings)


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_cannot_change_or_delete(api: TestClient, redis: Redis, headers: dict[str, str]) -> None:
    Catalogue(redis).publish_prompt(card())
    job = submit(api)
    assert_problem(send(api, "DELETE", f"/jobs/{job}", headers), "foreign_origin")
    assert_problem(send(api, "DELETE", f"/prompts/{card().id}", headers), "foreign_origin")
    assert_problem(send(api, "PATCH", f"/prompts/{card().id}", headers, json={"withdrawn": True}), "foreign_origin")
    assert redis.zcard(ACTIVE) == redis.zcard(JOBS) == 1
    assert card().id in Catalogue(redis).prompts()


@pytest.mark.parametrize("headers", OWN)
def test_the_own_page_and_other_programs_are_served(api: TestClient, headers: dict[str, str]) -> None:
    assert send(api, "POST", "/certify", headers, content=PNG).status_code == 202


def test_the_port_is_part_of_the_origin(api: TestClient) -> None:
    own = {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}
    assert api.post("/certify", content=PNG, headers=own).status_code == 202
    other = {**own, "origin": "http://127.0.0.1:8001"}
    assert_problem(api.post("/certify", content=PNG, headers=other), "foreign_origin")


@pytest.mark.parametrize("headers", FOREIGN)
def test_reading_is_left_to_the_browsers_own_rule(api: TestClient, headers: dict[str, str]) -> None:
    answer = send(api, "GET", "/tasks", headers)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
