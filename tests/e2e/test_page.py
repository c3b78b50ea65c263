"""The page works in a real browser, against one real service with the demonstration model."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from certrad.app.cli.private_service import private_stack
from tests.support.browser import JOB_MS, Tab, chromium, new_tab
from tests.support.images import sample

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SECRET_NAME = "DOE^JANE-19501231.png"
RESULT = ".result-text h1"
NARROW, WIDE = 360, 1920
RELOAD_MS = 15_000  # the record of a running job has its samples: nothing is computed in between


def png(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def grid() -> tuple[NDArray[Any], NDArray[Any]]:
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    return rows, columns


def plain() -> bytes:
    """Stripes, which the demonstration model gives one class at any noise."""
    return png(np.where(np.sin(20 * grid()[1]) > 0, 255, 0))


def doubtful() -> bytes:
    """A soft disc, over which the template is of three minds at sigma 0.5: no class has a majority."""
    rows, columns = grid()
    return png(200 * np.exp(-3 * (rows**2 + columns**2)))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_stack(tmp_path_factory.mktemp("p")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def tab(browser: Browser, url: str) -> Iterator[Tab]:
    """A tab whose page may neither fail nor ask anybody else: each test that uses it shows that, too."""
    with new_tab(browser, url) as opened:
        yield opened
        assert opened.errors == []
        assert opened.foreign() == []


def api(url: str, image: bytes, **fields: str) -> dict[str, Any]:
    """The ended job of an image that is sent without the page."""
    params = {"n": "300", "adaptation": "none", **fields}
    answer = httpx.post(f"{url}/certify", content=image, params=params, headers={"Prefer": "wait=30"}, timeout=60)
    body: dict[str, Any] = answer.json()
    assert body["status"] == "succeeded", body
    return body


@pytest.fixture(scope="module")
def certified(url: str) -> dict[str, Any]:
    job = api(url, plain())
    assert job["result"]["outcome"] == "certified"
    return job


@pytest.fixture(scope="module")
def abstained(url: str) -> dict[str, Any]:
    job = api(url, doubtful(), prompt="template", adapter="none", sigma="0.5")
    assert (job["result"]["outcome"], job["result"]["reason"]) == ("abstained", "no_majority")
    return job


def fill(tab: Tab, image: bytes, *, n: int, name: str = "image.png") -> Page:
    """The form with an image and a number of samples."""
    page = tab.open()
    page.get_by_label("Prompt").wait_for()
    page.set_input_files("input[type=file]", {"name": name, "mimeType": "image/png", "buffer": image})
    page.get_by_label("Prompt").select_option("template")  # the cheapest
    page.get_by_text("More settings").click()
    page.get_by_label("Exact number of samples").fill(str(n))
    return page


def send(page: Page) -> str:
    """Submits the form; the id of the job that the address then names."""
    page.get_by_role("button", name="Certify image").click()
    page.wait_for_url(re.compile(r"#/jobs/\w{32}$"))
    return page.url.rpartition("/")[2]


def await_samples(page: Page, within_ms: int = JOB_MS) -> int:
    """The number of samples that the live run shows, once it is not 0."""
    shown = page.locator("[data-live] progress")
    expect(shown).to_have_attribute("value", re.compile("^[1-9]"), timeout=within_ms)
    return int(shown.get_attribute("value") or 0)


def end(url: str, job_id: str) -> None:
    httpx.delete(f"{url}/jobs/{job_id}", timeout=30).raise_for_status()


# -- a run ----------------------------------------------------------------------------------------------------------


def test_image_is_sent_watched_and_certified(tab: Tab) -> None:
    page = fill(tab, plain(), n=3000)
    job_id = send(page)
    assert await_samples(page) > 0
    expect(page.get_by_role("table", name="Noisy samples in each class so far").get_by_role("row")).to_have_count(6)
    page.wait_for_selector(RESULT, timeout=JOB_MS)
    result = httpx.get(f"{tab.url}/jobs/{job_id}", timeout=30).json()["result"]
    assert page.inner_text(RESULT) == result["label"]
    assert page.inner_text(".radius-figure dd") == f"{result['radius']:.4f}"
    assert page.locator(".scope p").inner_text() == result["scope_text"]
    assert (result["n"], result["sigma"]) == (3000, 0.25)


def test_reload_in_mid_run_goes_on_with_the_same_job(tab: Tab) -> None:
    page = fill(tab, plain(), n=1_000_000)
    job_id = send(page)
    before = await_samples(page)
    page.reload()
    assert await_samples(page, RELOAD_MS) >= before
    assert page.locator(f"[data-live='{job_id}']").count() == 1
    end(tab.url, job_id)
    page.get_by_role("heading", name="This job was cancelled").wait_for()


def test_running_job_is_cancelled(tab: Tab) -> None:
    page = fill(tab, plain(), n=1_000_000)
    job_id = send(page)
    await_samples(page)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("heading", name="This job was cancelled").wait_for()
    assert httpx.get(f"{tab.url}/jobs/{job_id}", timeout=30).json()["status"] == "cancelled"


def test_proved_radius_is_shown_while_a_target_is_pursued(tab: Tab) -> None:
    page = fill(tab, plain(), n=100_000)
    page.get_by_label("Target radius").fill("0.9")
    job_id = send(page)
    expect(page.get_by_text("Radius proved so far")).to_be_visible(timeout=JOB_MS)
    if not page.locator(RESULT).count():
        end(tab.url, job_id)


def test_file_name_never_leaves_the_browser(tab: Tab) -> None:
    page = fill(tab, plain(), n=300, name=SECRET_NAME)
    expect(page.get_by_text(SECRET_NAME)).to_be_visible()
    send(page)
    page.wait_for_selector(RESULT, timeout=JOB_MS)
    assert [url for url, body in tab.sent if b"JANE" in url.encode() + body] == []
    assert any(body == plain() for _, body in tab.sent)


# -- what it ends in ------------------------------------------------------------------------------------------------


def test_abstention_says_why_and_what_to_do_and_shows_no_radius(tab: Tab, abstained: dict[str, Any]) -> None:
    page = tab.open(f"#/jobs/{abstained['id']}")
    page.get_by_role("heading", name="No class for this image").wait_for()
    assert "do not support a class" in page.inner_text(".result-text")
    assert page.locator(".todo li").count() >= 3
    assert "after m tries, the probability of at least one false certificate is up to m ·" in page.inner_text(".todo")
    assert page.locator(".radius-figure").count() == 0
    assert page.locator("[role=alert]").count() == 0


def test_warnings_stand_above_the_radius(tab: Tab, certified: dict[str, Any]) -> None:
    page = tab.open(f"#/jobs/{certified['id']}")
    (warning,) = certified["result"]["warnings"]
    place = page.get_by_text(warning["message"]).bounding_box()
    radius = page.locator(".radius-figure").bounding_box()
    assert place is not None
    assert radius is not None
    assert place["y"] < radius["y"]


def test_limits_are_those_of_the_document(tab: Tab, certified: dict[str, Any]) -> None:
    page = tab.open(f"#/jobs/{certified['id']}")
    page.locator(".limits li").first.wait_for()
    document = httpx.get(f"{tab.url}{certified['links']['certificate']}", timeout=30).json()
    assert page.locator(".limits li").all_inner_texts() == document["limits"]


def test_downloaded_certificate_is_the_stored_one(tab: Tab, certified: dict[str, Any], tmp_path: Path) -> None:
    page = tab.open(f"#/jobs/{certified['id']}")
    with page.expect_download() as download:
        page.locator("[data-download=json]").click()
    download.value.save_as(tmp_path / "certificate.json")
    stored = httpx.get(f"{tab.url}{certified['links']['certificate']}", timeout=30).content
    assert (tmp_path / "certificate.json").read_bytes() == stored


def test_image_that_is_refused_shows_why_and_what_to_do(tab: Tab) -> None:
    page = fill(tab, plain()[:-30], n=300)
    send(page)
    problem = page.locator("[data-code=unreadable_image]")
    problem.wait_for(timeout=JOB_MS)
    assert "The image cannot be decoded" in problem.inner_text()
    assert "What to do: send an intact file." in problem.inner_text()


def test_refused_field_is_named_marked_and_focused(browser: Browser, url: str) -> None:
    with new_tab(browser, url) as tab:
        page = fill(tab, plain(), n=12)
        page.get_by_role("button", name="Certify image").click()
        field = page.get_by_label("Exact number of samples")
        expect(field).to_be_focused()
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile("must be at least n0, 100"))
        assert "What to do" in page.locator("[data-code=invalid_request]").inner_text()
        assert len(tab.errors) == 1  # the browser's own remark about a status of 422


def test_form_without_an_image_asks_for_one(tab: Tab) -> None:
    page = tab.open()
    page.get_by_label("Prompt").wait_for()
    page.get_by_role("button", name="Certify image").click()
    expect(page.locator("input[type=file]")).to_have_accessible_description(re.compile("Choose an image first"))
    assert [url for url, _ in tab.sent if url.startswith(f"{tab.url}/certify")] == []


def test_text_of_the_service_never_becomes_markup(tab: Tab) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    job = api(tab.url, plain(), classes=json.dumps([hostile, "hand X-ray"]), template="a photo of {}.")
    page = tab.open(f"#/jobs/{job['id']}")
    expect(page.get_by_role("rowheader", name=hostile)).to_have_text(hostile)
    assert page.locator("img[src=x]").count() == 0


# -- beside the result ----------------------------------------------------------------------------------------------


def test_picture_of_the_radius_is_the_image_changed_by_exactly_the_radius(tab: Tab, certified: dict[str, Any]) -> None:
    page = tab.open(f"#/jobs/{certified['id']}")
    slider = page.get_by_label("Distance from the image (L2)")
    radius = f"{certified['result']['radius']:.4f}"
    # the norm of whole steps is below the radius by less than a thousandth of it
    expect(slider).to_have_attribute("aria-valuetext", re.compile(rf"^L2 norm [\d.]+ of {re.escape(radius)}$"))
    shown = float((slider.get_attribute("aria-valuetext") or "").split()[2])
    assert shown == pytest.approx(certified["result"]["radius"], rel=1e-3)
    assert changed_values(page) > 0
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", f"L2 norm 0.0000 of {radius}")
    assert changed_values(page) == 0


def changed_values(page: Page) -> int:
    """Returns how many values differ between the first two pictures."""
    return int(
        page.evaluate("""() => {
            const [before, after] = [...document.querySelectorAll(".example-panels canvas")].map(
                (each) => each.getContext("2d").getImageData(0, 0, each.width, each.height).data);
            return before.reduce((sum, value, index) => sum + (value === after[index] ? 0 : 1), 0);
        }""")
    )


def test_curve_ends_at_the_certified_radius(tab: Tab, certified: dict[str, Any]) -> None:
    page = tab.open(f"#/jobs/{certified['id']}")
    result = certified["result"]
    chart = page.get_by_role("img", name=re.compile("^The radius grows"))
    expect(chart).to_have_attribute("aria-label", re.compile(rf"to {result['radius']:.4f} at {result['n']}\.$"))
    expect(chart.locator("canvas")).to_be_visible()


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_downloads_are_all_that_the_service_offers(
    browser: Browser, url: str, certified: dict[str, Any], width: int, tmp_path: Path
) -> None:
    with new_tab(browser, url, viewport={"width": width, "height": 800}) as tab:
        page = tab.open(f"#/jobs/{certified['id']}")
        page.locator("[data-download=png]").wait_for()
        buttons = page.locator("[data-download]")
        for place in range(buttons.count()):
            with page.expect_download() as download:
                buttons.nth(place).click()
            target = tmp_path / download.value.suggested_filename
            download.value.save_as(target)
            assert target.stat().st_size > 0
        assert tab.errors == []


def test_reports_of_a_dicom_file_are_offered(tab: Tab, tmp_path: Path) -> None:
    job = api(tab.url, sample("CT_small.dcm"))
    page = tab.open(f"#/jobs/{job['id']}")
    for ending in ("sr.dcm", "sc.dcm"):
        with page.expect_download() as download:
            page.locator(f"[data-download='{ending}']").click()
        download.value.save_as(tmp_path / ending)
        assert (tmp_path / ending).read_bytes()[128:132] == b"DICM"


@pytest.mark.parametrize(("verdict", "word"), [("Accept", "Accepted"), ("Reject", "Rejected"), ("Amend", "Amended")])
def test_reader_assesses_a_result(tab: Tab, abstained: dict[str, Any], verdict: str, word: str) -> None:
    page = tab.open(f"#/jobs/{abstained['id']}")
    page.get_by_role("button", name=verdict, exact=True).click()
    page.get_by_label("Reason", exact=True).select_option("poor_image")
    page.get_by_role("button", name="Save assessment").click()
    expect(page.get_by_role("region", name="Your assessment")).to_contain_text(word)
    kept = httpx.get(f"{tab.url}{abstained['links']['certificate']}/assessment", timeout=30).json()["assessments"][-1]
    assert (kept["verdict"], kept["reason"]) == (verdict.lower(), "poor_image")


def test_rules_are_tested_on_a_series(tab: Tab) -> None:
    page = tab.open("#/service")
    form = page.get_by_role("form", name="Test the rules")
    form.get_by_label("Series description").fill("daily QA phantom")
    form.get_by_role("button", name="Test").click()
    expect(form.locator("[data-decision=ignore]")).to_contain_text("phantom")
    form.get_by_text("With other rules than those of the file").click()
    form.get_by_label("Rules as TOML").fill('[[rule]]\nname = "chests"\nmatch = { modality = "DX" }\ntask = "mednist"')
    form.get_by_label("Modality").fill("dx")
    form.get_by_role("button", name="Test").click()
    expect(form.locator("[data-decision=certify]")).to_contain_text("chests")
    expect(form.locator("[data-decision=certify]")).to_contain_text("mednist")


# -- the other views ------------------------------------------------------------------------------------------------


def test_jobs_are_listed_with_their_outcome(tab: Tab, certified: dict[str, Any], abstained: dict[str, Any]) -> None:
    page = tab.open("#/jobs")
    for job, word in ((certified, "Certified"), (abstained, "Abstained")):
        expect(page.locator(f"a[href='#/jobs/{job['id']}']")).to_contain_text(word)


def test_job_that_does_not_exist_has_a_heading_and_a_way_on(browser: Browser, url: str) -> None:
    with new_tab(browser, url) as tab:
        page = tab.open("#/jobs/nobody")
        expect(page.get_by_role("heading", name="No such job", level=1)).to_be_visible()
        page.get_by_role("link", name="Certify an image").click()
        expect(page.get_by_role("heading", name="Certify an image", level=1)).to_be_visible()


def test_job_is_erased_after_a_question(tab: Tab) -> None:
    job = api(tab.url, plain(), n="301")
    page = tab.open(f"#/jobs/{job['id']}")
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert httpx.get(f"{tab.url}/jobs/{job['id']}", timeout=30).status_code == 200
    erase(page)
    assert httpx.get(f"{tab.url}/jobs/{job['id']}", timeout=30).status_code == 404


def test_running_job_is_cancelled_and_erased_at_once(tab: Tab) -> None:
    running = httpx.post(f"{tab.url}/certify", content=plain(), params={"n": "1000000"}, timeout=30).json()["id"]
    page = tab.open(f"#/jobs/{running}")
    page.locator("[data-live]").wait_for()
    erase(page)
    assert httpx.get(f"{tab.url}/jobs/{running}", timeout=30).status_code == 404


def erase(page: Page) -> None:
    """Erases the job of a view, which then shows the list of jobs."""
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase").click()
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()


def test_service_view_shows_queues_workers_and_models(tab: Tab) -> None:
    page = tab.open("#/service")
    expect(page.get_by_role("table", name="Queues").get_by_role("row")).to_have_count(4)
    expect(page.get_by_role("table", name="Engines")).to_contain_text("demo")
    expect(page.get_by_role("table", name="Models")).to_contain_text("ready")


def test_reference_lists_every_call_and_makes_one(tab: Tab) -> None:
    tab.page.goto(f"{tab.url}/docs")
    tab.page.locator(".opblock").first.wait_for()
    paths = httpx.get(f"{tab.url}/openapi.json", timeout=30).json()["paths"]
    assert tab.page.locator(".opblock").count() == sum(len(methods) for methods in paths.values())
    live = tab.page.locator("#operations-health-live")
    live.locator("button.opblock-summary-control").click()
    live.get_by_role("button", name="Try it out").click()
    live.get_by_role("button", name="Execute").click()
    expect(live.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")


# -- for everybody --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(
    browser: Browser, url: str, certified: dict[str, Any], abstained: dict[str, Any], scheme: str
) -> None:
    running = httpx.post(f"{url}/certify", content=plain(), params={"n": "1000000"}, timeout=30).json()["id"]
    with new_tab(browser, url, color_scheme=scheme) as tab:
        places = ["", "#/jobs", "#/service", f"#/jobs/{certified['id']}", f"#/jobs/{abstained['id']}"]
        found = {place: tab.violations() for place in places if settle(tab, place)}
        page = tab.open(f"#/jobs/{running}")
        await_samples(page)
        found["live"] = tab.violations()
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("heading", name="This job was cancelled").wait_for()
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert {place: each for place, each in found.items() if each} == {}


def settle(tab: Tab, place: str) -> bool:
    """Opens a view with everything that it loads, and with what it folds away."""
    page = tab.open(place)
    page.wait_for_load_state("networkidle")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    return True


@pytest.mark.parametrize("width", [NARROW, 768, WIDE])
def test_no_view_is_wider_than_its_window(
    browser: Browser, url: str, certified: dict[str, Any], abstained: dict[str, Any], width: int
) -> None:
    with new_tab(browser, url, viewport={"width": width, "height": 800}) as tab:
        for place in ("", "#/jobs", "#/service", f"#/jobs/{certified['id']}", f"#/jobs/{abstained['id']}"):
            settle(tab, place)
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_whole_flow_works_without_a_mouse(tab: Tab) -> None:
    image: FilePayload = {"name": "image.png", "mimeType": "image/png", "buffer": plain()}
    # Listening begins before the page is opened: a chooser that opens sooner than the browser intercepts it is lost.
    tab.page.on("filechooser", lambda chooser: chooser.set_files(image))
    page = tab.open()
    page.get_by_label("Prompt").wait_for()
    tab_to(page, "input[type=file]")
    page.keyboard.press("Enter")
    expect(page.get_by_text("image.png")).to_be_visible()
    tab_to(page, "input[type=radio][value='0.25']")
    page.keyboard.press("ArrowRight")
    tab_to(page, "input[type=radio][value='10000']")
    page.keyboard.press("ArrowLeft")
    tab_to(page, "button[type=submit]")
    page.keyboard.press("Enter")
    page.wait_for_selector(RESULT, timeout=JOB_MS)
    expect(page.locator(RESULT)).to_be_focused()  # who followed the run is taken to its result
    job = httpx.get(f"{tab.url}/jobs/{page.url.rpartition('/')[2]}", timeout=30).json()
    assert (job["request"]["params"]["sigma"], job["request"]["params"]["n"]) == (0.5, 1000)
    tab_to(page, "[data-download=json]")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".json")


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_progress_is_said_to_screen_readers(tab: Tab) -> None:
    page = fill(tab, plain(), n=1500)
    page.evaluate("""() => {
        window.said = [];
        const place = document.getElementById("announcer");
        new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true });
    }""")
    send(page)
    page.wait_for_selector(RESULT, timeout=JOB_MS)
    said: list[str] = page.evaluate("said")
    assert "Bounding its probability." in said
    assert any("percent of the samples are done" in sentence for sentence in said)
    assert said[-1].startswith("The job has ended")


def test_chosen_colours_are_kept(tab: Tab) -> None:
    page = tab.open()
    page.get_by_role("button", name="Dark colours").click()
    page.reload()
    expect(page.get_by_role("button", name="Dark colours")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 20, 24)"


def test_nothing_moves_for_those_who_ask_for_it(browser: Browser, url: str) -> None:
    running = httpx.post(f"{url}/certify", content=plain(), params={"n": "1000000"}, timeout=30).json()["id"]
    with new_tab(browser, url, reduced_motion="reduce") as tab:
        page = tab.open(f"#/jobs/{running}")
        moving = "getComputedStyle(document.querySelector('.badge.running'), '::before').animationIterationCount"
        assert page.evaluate(moving) == "1"
    end(url, running)
