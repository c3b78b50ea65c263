"""A page of another origin in real Chromium: it submits nothing, deletes nothing, and reads nothing."""

import functools
import http.server
import threading
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import JOBS
from tests.support.api import PNG
from tests.support.api_server import api_server
from tests.support.browser import chromium
from tests.support.keys import bearing, make_key

pytestmark = pytest.mark.system

REFERENCE: Final = "a note of another origin"
ATTACK: Final = """
async ([service, job]) => {
  const seen = [];
  const note = (what) => seen.push(what);
  const attempt = async (name, work) => { try { note([name, await work()]); } catch (error) { note([name, null]); } };
  const read = async (path, options) => (await fetch(service + path, options)).text();
  const png = new Blob([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10])]);
  const form = () => { const data = new FormData(); data.append("image", png, "a.png"); return data; };
  for (const credentials of ["omit", "include"]) {
    for (const mode of ["cors", "no-cors"]) {
      const options = { credentials, mode };
      await attempt(`post form ${mode}`, () => read("/certify", { ...options, method: "POST", body: form() }));
      await attempt(`post text ${mode}`, () => read("/certify?n=300", {
        ...options, method: "POST", body: png, headers: { "Content-Type": "text/plain" } }));
      await attempt(`read job ${mode}`, () => read(`/jobs/${job}`, options));
      await attempt(`read jobs ${mode}`, () => read("/jobs", options));
      await attempt(`read page ${mode}`, () => read("/page/service.json", options));
    }
    await attempt("delete", () => read(`/jobs/${job}`, { method: "DELETE", credentials }));
    await attempt("log out", () => read("/session", { method: "DELETE", credentials }));
    await attempt("post json", () => read("/session", {
      method: "POST", credentials, body: "{}", headers: { "Content-Type": "application/json" } }));
  }
  await attempt("beacon", () => { navigator.sendBeacon(`${service}/certify?n=300`, png); return ""; });
  const source = new EventSource(`${service}/jobs/${job}/events`, { withCredentials: true });
  await new Promise((done) => {
    for (const kind of ["open", "phase", "progress", "message"]) {
      source.addEventListener(kind, (event) => { note([`events ${kind}`, "open"]); done(); });
    }
    source.addEventListener("error", done);
  });
  source.close();
  await attempt("image", () => new Promise((done) => {
    const image = new Image();
    image.onload = () => done("pixels");
    image.onerror = () => done(null);
    image.src = `${service}/jobs/${job}/input`;
  }));
  await attempt("frame", () => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => {
      try { done(frame.contentDocument?.body?.textContent ?? null); } catch { done(null); }
    };
    frame.src = `${service}/jobs/${job}`;
    document.body.append(frame);
  }));
  for (const enctype of ["multipart/form-data", "text/plain", "application/x-www-form-urlencoded"]) {
    for (const action of ["/certify", `/jobs/${job}?_method=DELETE`, "/prompts"]) {
      const frame = document.createElement("iframe");
      frame.name = `target-${enctype}-${action}`;
      document.body.append(frame);
      const sent = document.createElement("form");
      Object.assign(sent, { method: "POST", enctype, action: service + action, target: frame.name });
      const field = document.createElement("input");
      Object.assign(field, { name: "image", value: "x" });
      sent.append(field);
      document.body.append(sent);
      const answered = new Promise((done) => { frame.onload = done; });
      sent.submit();
      await answered;
      await attempt(`form ${enctype}`, () => frame.contentDocument?.body?.textContent ?? null);
    }
  }
  return seen;
}
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # named by the standard library
        """Says nothing."""


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of another web server of this machine, with an empty page."""
    folder = tmp_path_factory.mktemp("attacker")
    (folder / "index.html").write_text("<!doctype html><title>attacker</title><body></body>")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context()
    yield opened
    opened.close()


def submit(url: str, headers: dict[str, str]) -> str:
    form = {"reference": REFERENCE}
    answer = httpx.post(f"{url}/certify", files={"image": PNG}, data=form, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def attack(page: Page, origin: str, url: str, job: str) -> list[tuple[str, str | None]]:
    """Returns what a page of an origin got to read of a service, by attempt."""
    page.goto(origin)
    return [(name, text) for name, text in page.evaluate(ATTACK, [url, job])]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # another site, and the same site at another port
@pytest.mark.parametrize("access", ["auto", "closed"])
def test_page_of_another_origin_neither_submits_nor_deletes_nor_reads(
    context: BrowserContext, redis: Redis, api_settings: ApiSettings, attacker: int, host: str, access: str
) -> None:
    settings = api_settings.model_copy(update={"access": access, "allowed_hosts": "localhost,127.0.0.1"})
    key = make_key(settings.access_dir, "radiology")
    headers = bearing(key) if access == "closed" else {}
    with api_server(settings) as url:
        job = submit(url, headers)
        page = context.new_page()
        if access == "closed":
            page.goto(url)
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            page.get_by_role("region", name="Session").wait_for()
        tries = attack(page, f"http://{host}:{attacker}/", url, job)
        assert len(tries) > 30
        assert [each for each in tries if each[1]] == []
        assert redis.zrange(JOBS, 0, -1) == [job.encode()]
        assert httpx.get(f"{url}/jobs/{job}", headers=headers).json()["status"] == "queued"
        if access == "closed":  # and the session goes on
            assert page.request.get(f"{url}/jobs/{job}").json()["reference"] == REFERENCE


def test_the_services_own_page_can_what_the_other_cannot(
    context: BrowserContext, redis: Redis, api_settings: ApiSettings
) -> None:
    with api_server(api_settings.model_copy(update={"allowed_hosts": "127.0.0.1"})) as url:
        job = submit(url, {})
        page = context.new_page()
        page.goto(url)
        status = "async ([path, options]) => (await fetch(path, options)).status"
        assert page.evaluate(status, [f"/jobs/{job}", {}]) == 200
        assert page.evaluate(status, [f"/jobs/{job}", {"method": "DELETE"}]) in (200, 202, 204)
