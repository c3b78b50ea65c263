"""A closed service works behind Debian's nginx with the configuration of docker/proxy."""

import http.client
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from redis import Redis

from certrad.app.api.problems import problem
from certrad.app.api.sessions import COOKIE
from certrad.app.cli.refusals import problem_of
from certrad.app.settings import ApiSettings
from tests.support.api import PNG
from tests.support.api_server import api_server
from tests.support.audit import audited
from tests.support.browser import chromium
from tests.support.keys import bearing, make_key
from tests.support.orthanc import free_port
from tests.support.problems import assert_problem
from tests.support.processes import wait_for
from tests.support.reverse_proxy import ReverseProxy, reverse_proxy

pytestmark = pytest.mark.system

SPOOFED = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
NAME = "DOE-JANE-19501231"


@pytest.fixture
def settings(redis: Redis, api_settings: ApiSettings) -> ApiSettings:
    """A service that believes the proxy alone; its event streams say less in a second than fills a buffer of nginx."""
    changes = {"trusted_proxies": "127.0.0.1", "keep_alive": 1.0, "allowed_hosts": "127.0.0.1"}
    return api_settings.model_copy(update=changes)


@pytest.fixture
def url(settings: ApiSettings) -> Iterator[str]:
    with api_server(settings) as address:
        yield address


@pytest.fixture
def proxy(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReverseProxy]:
    with reverse_proxy(tmp_path_factory.mktemp("nginx"), url) as running:
        yield running


@pytest.fixture
def key(settings: ApiSettings) -> str:
    return make_key(settings.access_dir, "radiology")


def submit(client: httpx.Client, headers: dict[str, str]) -> str:
    answer = client.post("/certify", content=PNG, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def submitters(settings: ApiSettings) -> list[str]:
    """The addresses from which images came, as the audit trail has them."""
    return [event["network"] for event in audited(settings.audit_dir) if event["name"] == "input_received"]


def test_a_key_is_needed_and_lets_in(proxy: ReverseProxy, key: str) -> None:
    with proxy.client() as client:
        assert client.get("/jobs").status_code == 401
        job = submit(client, bearing(key))
        assert client.get(f"/jobs/{job}", headers=bearing(key)).json()["status"] == "queued"


def test_events_arrive_while_the_job_waits(proxy: ReverseProxy, key: str) -> None:
    with proxy.client() as client:
        job = submit(client, bearing(key))
        with client.stream("GET", f"/jobs/{job}/events", headers=bearing(key)) as events:
            # A proxy that fills a buffer first passes nothing on for minutes, and the client gives up.
            assert next(events.iter_lines()) == "retry: 2000"
        assert client.get(f"/jobs/{job}", headers=bearing(key)).json()["status"] == "queued"


def test_page_logs_in_over_tls_with_a_secure_cookie(proxy: ReverseProxy, key: str) -> None:
    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(proxy.url)
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name="Session")).to_contain_text("radiology")
        (cookie,) = context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == (COOKIE, True, True)


def test_cookie_without_tls_is_not_secure(url: str, key: str) -> None:
    answer = httpx.post(f"{url}/session", json={"key": key})
    assert "Secure" not in answer.headers["set-cookie"]


def test_address_is_that_of_the_client_whatever_it_claims(proxy: ReverseProxy, key: str, settings: ApiSettings) -> None:
    with proxy.client(address="127.0.0.3") as client:
        submit(client, {**bearing(key), **SPOOFED})
    assert submitters(settings) == ["127.0.0.3"]


def test_header_of_a_stranger_is_ignored(url: str, key: str, settings: ApiSettings) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=url, transport=transport) as client:
        submit(client, {**bearing(key), **SPOOFED})
        cookie = client.post("/session", json={"key": key}, headers=SPOOFED).headers["set-cookie"]
    assert submitters(settings) == ["127.0.0.2"]
    assert "Secure" not in cookie


def test_header_of_the_named_proxy_is_believed(url: str, key: str, settings: ApiSettings) -> None:
    with httpx.Client(base_url=url) as client:
        submit(client, {**bearing(key), **SPOOFED})
    assert submitters(settings) == ["203.0.113.9"]


def test_body_that_is_too_large_ends_at_the_proxy(proxy: ReverseProxy) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, context=proxy.trust(), timeout=30)
    with closing(connection):
        connection.putrequest("POST", "/certify")
        connection.putheader("Content-Length", str(66 << 20))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.headers["server"]) == (413, "nginx")
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.load(answer) == problem("body_too_large")


def test_service_that_does_not_answer_is_a_problem_of_the_proxy(tmp_path: Path) -> None:
    with reverse_proxy(tmp_path, f"http://127.0.0.1:{free_port()}") as proxy, proxy.client() as client:
        answer = client.get("/jobs")
    refused = problem_of(answer)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
    assert (answer.json()["status"], refused.code) == (502, "unreachable")
    assert len(answer.headers.get_list("strict-transport-security")) == 1


def test_problem_of_the_service_passes_the_proxy_as_it_is(proxy: ReverseProxy, key: str) -> None:
    with proxy.client() as client:
        answer = client.patch("/prompts/any", content=bytes(2 << 20), headers=bearing(key))
    assert "the body must have at most" in assert_problem(answer, "body_too_large")["detail"]


@pytest.mark.parametrize("path", ["/jobs", "/health/live", "/"])
def test_a_browser_is_told_once_to_come_by_tls_only(proxy: ReverseProxy, path: str) -> None:
    with proxy.client() as client:
        assert client.get(path).headers.get_list("strict-transport-security") == ["max-age=31536000"]


def test_nothing_of_a_query_and_no_image_stays_at_the_proxy(proxy: ReverseProxy, key: str) -> None:
    with proxy.client() as client:
        client.get("/jobs", params={"cursor": NAME}, headers={**bearing(key), "referer": f"https://x/{NAME}"})
        client.post("/certify", content=PNG + NAME.encode() * 5000, headers=bearing(key))

    def kept() -> list[bytes]:
        return [path.read_bytes() for path in proxy.folder.rglob("*") if path.is_file()]

    # nginx writes the line of a request after it has answered.
    wait_for(lambda: any(b"/certify 202" in content for content in kept()), what="the line of the request")
    assert [content for content in kept() if NAME.encode() in content] == []


def test_client_without_a_certificate_is_refused(url: str, key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nginx")
    with reverse_proxy(folder, url, "server/client-certificates.conf") as proxy:
        with proxy.client() as stranger:
            answer = stranger.get("/jobs", headers=bearing(key))
            assert (answer.status_code, "No required SSL certificate" in answer.text) == (400, True)
        with proxy.client(certificate=True) as known:
            assert known.get("/jobs", headers=bearing(key)).status_code == 200
            assert known.get("/jobs").status_code == 401


@contextmanager
def sign_on() -> Iterator[str]:
    """A server that knows one reader by a cookie, and answers as oauth2-proxy does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("cookie") == "reader=1"
            self.send_response(202 if known else 401)
            if known:
                self.send_header("X-Auth-Request-Groups", "radiology")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # named by the standard library
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_single_sign_on_stands_for_the_key_of_the_group(url: str, key: str, tmp_path: Path) -> None:
    folder = tmp_path / "nginx"
    folder.mkdir()
    parts = ("http/single-sign-on.conf", "server/single-sign-on.conf")
    with sign_on() as address:
        changes = {"127.0.0.1:4180": address, "KEY_OF_RADIOLOGY": key}
        with reverse_proxy(folder, url, *parts, changes=changes) as proxy, proxy.client() as client:
            assert client.get("/session").status_code == 401
            assert client.get("/session", headers=bearing(key)).status_code == 401
            answer = client.get("/session", headers={"cookie": "reader=1"})
            assert (answer.json()["tenant"], answer.json()["access"]) == ("radiology", "closed")
