"""The page shows what other renderings of a file show, in a real browser: all of them, a slider, and what fails."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from pydicom.data import get_testdata_file

from certrad.app.cli.private_service import private_stack
from tests.support.browser import JOB_MS, Tab, chromium, new_tab

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CARD: Final = "Other renderings of this file"
WIDTHS: Final = (360, 768, 1280)
BOX: Final = [[centre, width] for width in (600, 790, 1000) for centre in (400, 450, 500)]
"""Windows around that of the file, and two that show next to nothing."""
FIELDS: Final = {"n0": "20", "n": "200", "prompt": "template", "adapter": "none", "sigma": "0.1"}


def stripes() -> bytes:
    """Stripes, which the demonstration model gives one class at any noise."""
    buffer = io.BytesIO()
    row = np.where(np.sin(20 * np.linspace(-1, 1, 64)) > 0, 255, 0)
    Image.fromarray(np.broadcast_to(row, (64, 64)).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def disc() -> bytes:
    """A soft disc, over which the template is of three minds at sigma 0.5: no class has a majority."""
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    buffer = io.BytesIO()
    Image.fromarray((200 * np.exp(-3 * (rows**2 + columns**2))).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def scan() -> bytes:
    """A file whose header has two windows."""
    path = get_testdata_file("MR-SIEMENS-DICOM-WithOverlays.dcm")
    assert path is not None
    return Path(path).read_bytes()


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
    with new_tab(browser, url) as opened:
        yield opened
        assert opened.errors == []
        assert opened.foreign() == []


def certify(url: str, image: bytes, lists: list[dict[str, Any]], **fields: str) -> dict[str, Any]:
    """The ended job of an image with variants."""
    params = {**FIELDS, "variants": json.dumps(lists), **fields}
    sent = httpx.post(f"{url}/certify", content=image, params=params, timeout=60).json()
    httpx.get(f"{url}{sent['links']['events']}", timeout=None)  # the stream ends with the job
    job: dict[str, Any] = httpx.get(f"{url}/jobs/{sent['id']}", timeout=60).json()
    assert job["status"] == "succeeded", job
    return job


@pytest.fixture(scope="module")
def held(url: str) -> dict[str, Any]:
    job = certify(url, stripes(), [{"kind": "jpeg", "quality": [90, 70]}, {"kind": "shift", "pixels": 1}])
    assert job["result"]["variants"]["held"] is True
    return job


@pytest.fixture(scope="module")
def failed(url: str) -> dict[str, Any]:
    windows = [{"kind": "windows", "windows": [[450, 790], [200, 443], [100, 20]]}]
    job = certify(url, scan(), windows, variant_radius="0.1")
    assert job["result"]["variants"]["held"] is False
    return job


@pytest.fixture(scope="module")
def box(url: str) -> dict[str, Any]:
    lists: list[dict[str, Any]] = [
        {"kind": "windows", "windows": [*BOX, [100, 20], [120, 20]]},
        {"kind": "jpeg", "quality": [50]},
    ]
    job = certify(url, scan(), lists, variant_radius="0.1")
    assert job["result"]["variants"]["held"] is False
    return job


@pytest.fixture(scope="module")
def abstained(url: str) -> dict[str, Any]:
    job = certify(url, disc(), [{"kind": "jpeg", "quality": [90]}], sigma="0.5")
    assert job["result"]["outcome"] == "abstained"
    return job


def card_of(tab: Tab, job: dict[str, Any]) -> Any:
    card = tab.open(f"#/jobs/{job['id']}").get_by_role("region", name=CARD)
    card.wait_for(timeout=JOB_MS)
    return card


def wait_for_images(card: Any) -> list[str]:
    """The pixels of the two images, once both are drawn."""
    images = card.locator(".viewer-panels img")
    expect(images).to_have_count(2)
    for number in range(2):
        images.nth(number).evaluate("each => each.decode()")
    draw = """each => {
        const canvas = new OffscreenCanvas(each.naturalWidth, each.naturalHeight);
        const context = canvas.getContext("2d");
        context.drawImage(each, 0, 0);
        return context.getImageData(0, 0, canvas.width, canvas.height).data.join();
    }"""
    return [images.nth(number).evaluate(draw) for number in range(2)]


def row_in(job: dict[str, Any], place: int) -> dict[str, Any]:
    row: dict[str, Any] = job["result"]["variants"]["rows"][place]
    return row


def test_variants_that_held_are_shown_with_their_smallest_radius(tab: Tab, held: dict[str, Any]) -> None:
    card, found = card_of(tab, held), held["result"]["variants"]
    expect(card.locator(".badge")).to_have_text("Shown for all")
    expect(card).to_contain_text(f"Smallest radius of the 10: {found['radius']:.4f}")
    expect(card.get_by_text(found["text"])).to_be_visible()
    expect(card.locator("[data-counterexample]")).to_have_count(0)
    card.get_by_text("All 10 renderings as a table").click()
    rows = card.get_by_role("table", name="Every rendering").locator("tbody tr")
    expect(rows).to_have_count(10)
    first = row_in(held, 0)
    cells = [
        "JPEG of quality 90",
        first["label"],
        f"{first['agreeing']} of {first['samples']}",
        f"{first['radius']:.4f}",
    ]
    assert rows.first.locator("td").all_inner_texts() == [*cells, "shown"]


def test_counterexample_is_named_and_shown_beside_the_image(tab: Tab, failed: dict[str, Any]) -> None:
    card, least = card_of(tab, failed), failed["result"]["variants"]["counterexample"]
    expect(card.locator(".badge")).to_have_text("Not shown for all")
    named = card.locator("[data-counterexample]")
    expect(named.get_by_role("heading")).to_have_text(f"Counterexample: {least['name']}")
    expect(named).to_contain_text(f"{least['agreeing']} of its {least['samples']} samples have the class")
    own, other = wait_for_images(card)
    assert own != other
    expect(card.locator(".viewer-panels figcaption").last).to_contain_text(least["name"])
    expect(card.locator("[data-row]")).to_contain_text("not shown")


def test_radius_of_variants_that_failed_is_no_headline(tab: Tab, failed: dict[str, Any]) -> None:
    expect(card_of(tab, failed)).not_to_contain_text("Smallest radius")


def test_abstention_says_that_nothing_was_sampled_and_has_no_slider(tab: Tab, abstained: dict[str, Any]) -> None:
    card = card_of(tab, abstained)
    expect(card.locator(".badge")).to_have_text("Not sampled")
    expect(card.get_by_text(abstained["result"]["variants"]["text"])).to_be_visible()
    expect(card.get_by_role("slider")).to_have_count(0)
    expect(card.locator("[data-counterexample], table, .no-image")).to_have_count(0)


def test_keyboard_steps_through_the_windows_and_back_to_the_counterexample(tab: Tab, failed: dict[str, Any]) -> None:
    card = card_of(tab, failed)
    slider = card.get_by_label("Window", exact=True)
    slider.focus()
    for key, place in (("Home", 0), ("ArrowRight", 1), ("End", 2)):
        tab.page.keyboard.press(key)
        row = row_in(failed, place)
        state = "shown" if row["radius"] >= 0.1 else "not shown"
        expect(slider).to_have_attribute(
            "aria-valuetext",
            f"{row['name']}: the class is {state}, {row['agreeing']} of {row['samples']} samples, most frequent answer "
            f"{row['label']}",
        )
        expect(card.locator("[data-row]")).to_contain_text(row["name"])
    least = failed["result"]["variants"]["counterexample"]
    tab.page.keyboard.press("Home")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    expect(card.locator("[data-row]")).to_contain_text(least["name"])


def test_image_that_the_slider_shows_is_that_of_the_row(tab: Tab, failed: dict[str, Any]) -> None:
    """The first window is that of the file itself: both images are one."""
    card = card_of(tab, failed)
    card.get_by_label("Window", exact=True).focus()
    tab.page.keyboard.press("Home")
    expect(card.locator(".viewer-panels figcaption").last).to_contain_text(row_in(failed, 0)["name"])
    own, other = wait_for_images(card)
    assert (own == other) == (row_in(failed, 0)["input_sha256"] == failed["result"]["input_sha256"]) is True


def test_box_of_windows_is_moved_over_by_width_and_centre(tab: Tab, box: dict[str, Any]) -> None:
    card = card_of(tab, box)
    width, centre = card.get_by_label("Window width"), card.get_by_label("Window centre")
    width.focus()
    tab.page.keyboard.press("End")
    expect(card.locator("[data-row]")).to_contain_text("width 1000")
    centre.focus()
    tab.page.keyboard.press("End")
    expect(centre).to_have_attribute("aria-valuetext", shown_as("window of centre 500, width 1000"))
    tab.page.keyboard.press("ArrowLeft")
    expect(centre).to_have_attribute("aria-valuetext", shown_as("window of centre 450, width 1000"))
    width.focus()
    tab.page.keyboard.press("ArrowLeft")
    expect(width).to_have_attribute("aria-valuetext", shown_as("window of centre 450, width 790"))
    card.get_by_label("Other renderings", exact=True).select_option("JPEG of quality 50")
    expect(card.locator("[data-row]")).to_contain_text("JPEG of quality 50")


def shown_as(name: str) -> Any:
    return re.compile(f"^{re.escape(name)}: the class is ")


def test_map_crosses_out_the_windows_in_which_the_class_was_not_shown(tab: Tab, box: dict[str, Any]) -> None:
    card = card_of(tab, box)
    rows = [row for row in box["result"]["variants"]["rows"] if row["rendering"]["kind"].startswith("window/")]
    missing = sum(row["radius"] < 0.1 for row in rows)
    assert 0 < missing < len(rows) == 11
    expect(card.locator(".window-map rect")).to_have_count(len(rows))
    expect(card.locator(".window-map path")).to_have_count(missing)
    expect(card.locator(".cell-now")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, url: str, failed: dict[str, Any], box: dict[str, Any], abstained: dict[str, Any], scheme: str
) -> None:
    with new_tab(browser, url, color_scheme=scheme) as tab:
        found = {}
        for job in (failed, box, abstained):
            settle(tab, job)
            found[job["id"]] = tab.violations()
    assert {job: each for job, each in found.items() if each} == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_card_is_no_wider_than_its_window(
    browser: Browser, url: str, held: dict[str, Any], box: dict[str, Any], width: int
) -> None:
    with new_tab(browser, url, viewport={"width": width, "height": 800}) as tab:
        for job in (held, box):
            page = settle(tab, job)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_answers_without_noise_are_said_to_be_no_proof(tab: Tab) -> None:
    job = certify(tab.url, stripes(), [{"kind": "jpeg", "quality": [90, 70]}], variants_base="unsmoothed")
    card, found = card_of(tab, job), job["result"]["variants"]
    assert (found["held"], found["base"]) == (True, "unsmoothed")
    expect(card.locator(".badge")).to_have_text("Same answer without noise")
    expect(card).to_contain_text("That is no proof")
    expect(card).not_to_contain_text("Shown for all")
    expect(card).not_to_contain_text("Smallest radius")
    expect(card.locator("[data-row]")).to_contain_text("Answer without noise")
    slider = card.get_by_label("Rendering", exact=True)
    expect(slider).to_have_attribute(
        "aria-valuetext", f"JPEG of quality 90: the answer without noise is {found['rows'][0]['label']}"
    )


def form(tab: Tab) -> Page:
    """The form with an image and its folded choices of other renderings open."""
    page = tab.open()
    page.get_by_label("Prompt").wait_for()
    page.set_input_files("input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": stripes()})
    page.get_by_label("Prompt").select_option("template")
    page.get_by_text("Other renderings that must have the class too").click()
    return page


def test_choices_of_the_form_become_the_variants_of_the_request(tab: Tab) -> None:
    page = form(tab)
    page.get_by_label("JPEG qualities").fill("90, 50")
    page.get_by_label("Moved by up to").fill("1")
    page.get_by_label("Radius at each of them").fill("0.05")
    page.get_by_label("Samples of each of them").fill("60")
    page.locator("input[type=radio][value='1000']").check()
    page.get_by_role("button", name="Certify image").click()
    page.get_by_role("region", name=CARD).wait_for(timeout=JOB_MS)
    job = httpx.get(f"{tab.url}/jobs/{page.url.rpartition('/')[2]}", timeout=30).json()
    asked = job["request"]["variants"]
    assert [listed["kind"] for listed in asked["lists"]] == ["jpeg_qualities/1", "shifts/1"]
    assert (asked["lists"][0]["quality"], asked["lists"][1]["pixels"]) == ([90, 50], 1)
    assert (asked["radius"], asked["n"]) == (0.05, 60)


def test_window_box_of_the_form_is_a_map_of_every_window_that_was_tried(tab: Tab) -> None:
    page = form(tab)
    page.get_by_label("Window box: centre ±").fill("5")
    page.get_by_label("Window box: width ×").fill("1.02")
    page.locator("input[type=radio][value='1000']").check()
    page.get_by_role("button", name="Certify image").click()
    card = page.get_by_role("region", name=CARD)
    card.wait_for(timeout=JOB_MS)
    result = httpx.get(f"{tab.url}/jobs/{page.url.rpartition('/')[2]}", timeout=30).json()["result"]
    (listed,) = result["variants"]["boxes"]
    expect(card.locator("[data-box]")).to_contain_text(f"{listed['cells']} windows")
    expect(card.locator(".window-map rect")).to_have_count(listed["cells"])
    width = card.get_by_label("Window width")
    width.focus()
    page.keyboard.press("End")
    widest = max(row["rendering"]["width"] for row in result["variants"]["rows"])
    expect(card.locator("[data-row]")).to_contain_text(f"width {widest:g} on the lattice")


def test_windows_of_the_header_can_be_asked_for_with_the_keyboard(tab: Tab) -> None:
    page = form(tab)
    box = page.get_by_label("Every window of the header")
    box.focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("(1 list)")).to_be_visible()
    page.get_by_role("button", name="Certify image").click()
    page.locator("[data-code=variant_unavailable]").wait_for(timeout=JOB_MS)  # a PNG has no header


def test_variants_that_are_refused_are_marked_where_they_were_chosen(browser: Browser, url: str) -> None:
    with new_tab(browser, url) as tab:
        page = form(tab)
        page.get_by_label("JPEG qualities").fill("101")
        page.get_by_text("Other renderings that must have the class too").click()
        page.get_by_role("button", name="Certify image").click()
        refused = page.locator("[data-variants] .refused[role=alert]")
        expect(refused).to_be_visible()
        assert "100" in refused.inner_text()
        assert len(tab.errors) == 1  # the browser's own remark about a status of 422


@pytest.mark.parametrize("width", WIDTHS)
def test_form_with_its_choices_is_no_wider_than_its_window_and_axe_finds_nothing(
    browser: Browser, url: str, width: int
) -> None:
    with new_tab(browser, url, viewport={"width": width, "height": 800}) as tab:
        page = form(tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.violations() == []


def settle(tab: Tab, job: dict[str, Any]) -> Page:
    """Opens a job with everything that it loads, and with what it folds away."""
    card_of(tab, job)
    tab.page.wait_for_load_state("networkidle")
    tab.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    return tab.page
