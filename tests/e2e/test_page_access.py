"""The page of a closed service asks for a key, allows what its scopes allow, and asks again when it ends."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from certrad.app.api.sessions import COOKIE
from certrad.workers.contract.access import Scope
from certrad.workers.contract.access_keys import AccessKeys
from tests.support.browser import JOB_MS, Tab, chromium, new_tab
from tests.support.images import encoded, noise
from tests.support.keys import bearing
from tests.support.processes import Processes
from tests.support.stack import RunningStack, start_stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

IMAGE = encoded(noise(48, 48), "png")
REFERENCE = "worklist entry 4711"
WIDTHS = (360, 768, 1280)
STORED = "[localStorage, sessionStorage].map((each) => Array.from(each, (_, index) => each.getItem(each.key(index))))"
"""By index: among its properties, an item with the name of a method, such as `key`, is missing."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A closed service with one engine."""
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield start_stack(processes, tmp_path_factory.mktemp("stack") / "data", threads=1, access="closed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def tab(browser: Browser, stack: RunningStack) -> Iterator[Tab]:
    with new_tab(browser, stack.url) as opened:
        yield opened
        assert opened.foreign() == []


@contextmanager
def key(stack: RunningStack, tenant: str, *scopes: Scope) -> Iterator[str]:
    """A key that is revoked in the end."""
    keys = AccessKeys(stack.data_dir / "access")
    made = keys.add(tenant, scopes or ("submit", "read"))
    try:
        yield made.secret
    finally:
        if keys.live(made.kept.id) is not None:
            keys.revoke(made.kept.id)


def log_in(page: Page, secret: str) -> None:
    """Enters a key with the keyboard alone; the form has the focus."""
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.insert_text(secret)
    page.keyboard.press("Enter")


def logged_in(tab: Tab, secret: str, place: str = "") -> Page:
    page = tab.open(place)
    log_in(page, secret)
    expect(page.get_by_role("region", name="Session")).to_be_visible()
    return page


def fill(page: Page, *, n: int) -> None:
    """Chooses an image and the cheapest settings."""
    page.get_by_label("Prompt").wait_for()
    page.set_input_files("input[type=file]", {"name": "image.png", "mimeType": "image/png", "buffer": IMAGE})
    page.get_by_label("Prompt").select_option("template")
    page.get_by_text("More settings").click()
    page.get_by_label("Exact number of samples").fill(str(n))


def certify(page: Page) -> str:
    page.get_by_role("button", name="Certify image").click()
    page.wait_for_url(re.compile(r"#/jobs/\w{32}$"), timeout=JOB_MS)
    return page.url.rpartition("/")[2]


def test_key_lets_certify_and_follow_until_logged_out(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology") as secret:
        page = logged_in(tab, secret)
        expect(page.get_by_role("region", name="Session")).to_contain_text("radiology · may read jobs")
        fill(page, n=3000)
        job = certify(page)
        page.wait_for_selector(".result-text h1", timeout=JOB_MS)
        assert any(url.endswith(f"/jobs/{job}/events") for url, _ in tab.sent)
        assert httpx.get(f"{stack.url}/jobs/{job}", headers=bearing(secret)).json()["status"] == "succeeded"
        copied = {"cookie": f"{COOKIE}={page.context.cookies()[0]['value']}"}
        assert httpx.get(f"{stack.url}/jobs/{job}", headers=copied).status_code == 200
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert page.context.cookies() == []
        assert httpx.get(f"{stack.url}/jobs/{job}", headers=copied).status_code == 401


def test_key_is_sent_once_and_kept_nowhere(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology") as secret:
        page = logged_in(tab, secret)
        page.get_by_label("Prompt").wait_for()
        kept = page.evaluate(f"JSON.stringify([{STORED}, location.href, history.state])")
        values = page.evaluate("[...document.querySelectorAll('input')].map((each) => each.value).join()")
        assert secret not in kept + values + page.content() + page.evaluate("document.cookie")
        assert [url for url, body in tab.sent if secret in url] == []
        assert [url for url, body in tab.sent if secret.encode() in body] == [f"{stack.url}/session"]
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")


def test_wrong_key_is_refused_with_a_sentence(tab: Tab) -> None:
    page = tab.open()
    log_in(page, "certrad_0123456789ab_wrong")
    field = page.get_by_label("API key")
    expect(field).to_have_accessible_description(re.compile("This key is not valid"))
    expect(field).to_be_focused()
    expect(field).to_have_value("")


def test_revoked_key_is_asked_for_again_and_nothing_typed_is_lost(tab: Tab, stack: RunningStack) -> None:
    keys = AccessKeys(stack.data_dir / "access")
    with key(stack, "radiology") as secret, key(stack, "radiology") as second:
        page = logged_in(tab, secret)
        fill(page, n=301)
        page.get_by_label("Reference").fill(REFERENCE)
        keys.revoke(secret.split("_")[1])
        page.get_by_role("button", name="Certify image").click()
        dialog = page.get_by_role("dialog", name="Log in again")
        expect(dialog).to_contain_text("its key was revoked")
        page.keyboard.press("Escape")
        expect(dialog).to_be_visible()
        log_in(page, second)
        page.wait_for_url(re.compile(r"#/jobs/\w{32}$"), timeout=JOB_MS)
        job = page.url.rpartition("/")[2]
        view = httpx.get(f"{stack.url}/jobs/{job}", headers=bearing(second)).json()
        assert (view["request"]["params"]["n"], view["reference"]) == (301, REFERENCE)


def test_other_tenant_that_logs_in_sees_nothing_of_the_first(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology") as secret, key(stack, "oncology") as other:
        answer = httpx.post(f"{stack.url}/certify", content=IMAGE, params={"n": "300"}, headers=bearing(secret))
        page = logged_in(tab, secret, f"#/jobs/{answer.json()['id']}")
        page.get_by_role("button", name="Erase…").wait_for()
        AccessKeys(stack.data_dir / "access").revoke(secret.split("_")[1])
        page.evaluate("location.hash = '#/jobs'")
        expect(page.get_by_role("dialog", name="Log in again")).to_be_visible()
        log_in(page, other)
        expect(page.get_by_role("region", name="Session")).to_contain_text("oncology")
        expect(page.get_by_text("No job yet")).to_be_visible()


def test_reference_is_shown_in_the_job_and_never_in_an_address(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology") as secret:
        page = logged_in(tab, secret)
        fill(page, n=300)
        page.get_by_label("Reference").fill(REFERENCE)
        page.get_by_label("Deadline in seconds").fill("3600")
        certify(page)
        expect(page.get_by_text(REFERENCE)).to_be_visible()
        assert [url for url, _ in tab.sent if "reference" in url or "4711" in url] == []


def test_estimate_of_a_running_job_says_that_it_is_no_promise(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology") as secret:
        cheap = {"n": "300", "prompt": "template"}
        headers = {**bearing(secret), "prefer": "wait=60"}
        measured = httpx.post(f"{stack.url}/certify", content=IMAGE, params=cheap, headers=headers, timeout=90)
        assert measured.json()["status"] == "succeeded"
        page = logged_in(tab, secret)
        fill(page, n=1_000_000)
        job = certify(page)
        try:
            estimate = page.locator("[data-estimate]")
            expect(estimate).to_contain_text("An estimate, not a promise.")
            expect(estimate).to_contain_text("of work", timeout=JOB_MS)
            first = estimate.inner_text()
            expect(estimate).not_to_have_text(first, timeout=JOB_MS)  # it is asked for again as the job goes on
            expect(estimate).to_contain_text("An estimate, not a promise.")
        finally:
            httpx.delete(f"{stack.url}/jobs/{job}", headers=bearing(secret)).raise_for_status()


def test_what_the_scopes_do_not_allow_is_disabled_with_the_reason(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology", "read") as secret:
        page = logged_in(tab, secret)
        button = page.get_by_role("button", name="Certify image")
        expect(button).to_be_disabled()
        expect(button).to_have_accessible_description("Your key cannot submit images: it lacks the scope submit.")
    with key(stack, "radiology", "submit") as secret, new_tab(tab.page.context.browser, stack.url) as second:  # type: ignore[arg-type]
        page = logged_in(second, secret, "#/jobs")
        expect(page.get_by_text("Your key cannot list jobs: it lacks the scope read.")).to_be_visible()
        assert [url for url, _ in second.sent if "/jobs?" in url] == []


def test_too_many_requests_say_when_to_try_again(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "radiology") as secret:
        page = logged_in(tab, secret)
        fill(page, n=300)
        body = json.dumps({"title": "Too many requests", "code": "rate_limited", "status": 429})
        page.route(
            re.compile("/certify"), lambda route: route.fulfill(status=429, body=body, headers={"Retry-After": "42"})
        )
        page.get_by_role("button", name="Certify image").click()
        expect(page.locator("[data-code=rate_limited]")).to_contain_text("Try again in 42 s.")


def test_login_fits_every_width_and_axe_finds_nothing_serious(browser: Browser, stack: RunningStack) -> None:
    with key(stack, "radiology", "submit", "read", "tune", "admin") as secret, new_tab(browser, stack.url) as tab:
        page = tab.open()
        expect(page.get_by_label("API key")).to_be_focused()
        found = tab.violations()
        log_in(page, secret)
        page.get_by_label("Prompt").wait_for()
        page.wait_for_load_state("networkidle")
        found += tab.violations()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.context.clear_cookies()
        page.evaluate("location.hash = '#/jobs'")
        expect(page.get_by_role("dialog", name="Log in again")).to_be_visible()
        found += tab.violations()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert found == []


def test_drift_is_drawn_and_told_as_a_table(tab: Tab, stack: RunningStack) -> None:
    with key(stack, "sight") as secret:
        page = logged_in(tab, secret, "#/service")
        card = page.get_by_role("region", name="Abstentions and radii over time")
        expect(card).to_contain_text("No certificate in this period.")
        params = {"n": "300", "prompt": "template", "adaptation": "none"}
        headers = {**bearing(secret), "prefer": "wait=60"}
        answer = httpx.post(f"{stack.url}/certify", content=IMAGE, params=params, headers=headers, timeout=90)
        assert answer.json()["status"] == "succeeded"
        (row,) = httpx.get(f"{stack.url}/drift", headers=bearing(secret)).json()["rows"]
        page.get_by_label("Period").select_option("90 days")
        share = f"{100 * row['abstentions'] // row['certificates']}%"
        expect(
            card.get_by_role("img", name=re.compile(f"Share of abstentions: from {share} .* last {share}"))
        ).to_be_visible()
        expect(card.locator("canvas")).to_have_count(2)
        card.get_by_text("The same as a table").click()
        shown = card.get_by_role("table", name="Certificates by day").get_by_role("row").nth(1)
        expect(shown).to_contain_text(row["day"])
        expect(shown).to_contain_text(share)
