"""The page and the API reference reach a browser with their policy, their cache rules and their files."""

import re

import pytest
from fastapi.testclient import TestClient

from certrad.app.api.remedies import REMEDIES
from certrad.app.page.files import read_files
from certrad.app.settings import ApiSettings
from tests.support.problems import assert_problem

PATHS = ("/", "/docs")


def policy(header: str) -> dict[str, str]:
    """The directives of a Content-Security-Policy."""
    return dict(part.strip().partition(" ")[::2] for part in header.split(";"))


@pytest.mark.parametrize("path", [*PATHS, "/page/scripts/main.js", "/page/service.json"])
def test_policy_lets_only_files_of_the_service_run(api: TestClient, path: str) -> None:
    assert policy(api.get(path).headers["content-security-policy"]) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("path", PATHS)
def test_page_is_html_that_no_browser_takes_for_anything_else(api: TestClient, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_every_file_that_a_page_names_is_served(api: TestClient, path: str) -> None:
    named = re.findall(r'(?:src|href)="(/[^"#]*)"', api.get(path).text)
    assert named
    assert [name for name in named if api.get(name).status_code != 200] == []


def test_every_file_is_served_with_its_type(api: TestClient) -> None:
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    for path, file in read_files().items():
        if not path.endswith(".html"):
            answer = api.get(f"/page/{path}")
            assert answer.content == file.content
            assert answer.headers["content-type"] == types.get(path[path.rfind(".") :], "text/plain; charset=utf-8")


def test_copy_at_hand_is_not_sent_again(api: TestClient) -> None:
    first = api.get("/page/scripts/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = api.get("/page/scripts/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["nowhere.js", "files.py", "__init__.py", "../main.py", "%2e%2e/main.py", "index.html"]
)
def test_nothing_else_is_served(api: TestClient, path: str) -> None:
    assert_problem(api.get(f"/page/{path}"), "not_found")


def test_page_learns_what_to_do_about_every_error_code(api: TestClient, api_settings: ApiSettings) -> None:
    facts = api.get("/page/service.json").json()
    assert facts["remedies"] == {code: remedy.what_to_do for code, remedy in REMEDIES.items()}
    assert facts["max_body_bytes"] == api_settings.max_body_bytes


def test_interface_does_not_describe_the_page(api: TestClient) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert {path for path in paths if path in PATHS or path.startswith("/page")} == set()
