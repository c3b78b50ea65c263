"""Every kind of answer has the headers that keep a browser from doing more with it than it is for."""

import pytest
from fastapi.testclient import TestClient

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from tests.support.api import PNG, submit

pytestmark = pytest.mark.integration

ANSWERS = {
    "page": ("GET", "/"),
    "reference": ("GET", "/docs"),
    "script": ("GET", "/page/scripts/api.js"),
    "json": ("GET", "/tasks"),
    "interface": ("GET", "/openapi.json"),
    "probe": ("GET", "/health/live"),
    "metrics": ("GET", "/metrics"),
    "keys": ("GET", "/.well-known/jwks.json"),
    "head": ("HEAD", "/tasks"),
    "unknown path": ("GET", "/nothing"),
    "unknown job": ("GET", "/jobs/0815"),
    "wrong method": ("PUT", "/certify"),
    "refused field": ("POST", "/certify?unknown=1"),
}
HTML = ("page", "reference")


def policy(text: str) -> dict[str, str]:
    """The directives of a Content-Security-Policy."""
    return {name: values for name, _, values in (part.strip().partition(" ") for part in text.split(";"))}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_can_be_used_by_this_origin_only(kind: str, api: TestClient) -> None:
    method, path = ANSWERS[kind]
    headers = api.request(method, path, content=PNG if method == "POST" else None).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["permissions-policy"] == "camera=(), geolocation=(), microphone=()"
    directives = policy(headers["content-security-policy"])
    assert directives["default-src"] == "'none'"
    assert directives["frame-ancestors"] == "'none'"
    assert directives["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "cache-control" in headers
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize("kind", HTML)
def test_html_runs_scripts_of_this_origin_only(kind: str, api: TestClient) -> None:
    headers = api.get(ANSWERS[kind][1]).headers
    assert headers["content-type"].startswith("text/html")
    assert policy(headers["content-security-policy"])["script-src"] == "'self'"


@pytest.mark.parametrize("kind", sorted(set(ANSWERS) - {*HTML, "script"}))
def test_an_answer_of_the_interface_may_load_nothing_and_is_not_kept(kind: str, api: TestClient) -> None:
    method, path = ANSWERS[kind]
    headers = api.request(method, path, content=PNG if method == "POST" else None).headers
    assert set(policy(headers["content-security-policy"])) == {
        "default-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
    }
    assert "no-store" in headers["cache-control"] or kind == "keys"


def test_an_event_stream_has_them_too(api: TestClient) -> None:
    job = submit(api)
    api.delete(f"/jobs/{job}")
    headers = api.get(f"/jobs/{job}/events").headers
    assert headers["content-type"].startswith("text/event-stream")
    assert policy(headers["content-security-policy"])["default-src"] == "'none'"


def test_a_host_that_is_refused_gets_them_too(api: TestClient) -> None:
    answer = api.get("/tasks", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert policy(answer.headers["content-security-policy"])["default-src"] == "'none'"


def test_only_who_came_by_tls_is_told_to_come_by_tls(api_settings: ApiSettings) -> None:
    with TestClient(create_app(api_settings), base_url="https://testserver") as client:
        assert client.get("/tasks").headers["strict-transport-security"] == "max-age=31536000"
