"""The page says what the certificate states, and nothing on it is cut, hidden or hard to read."""

import re
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Final

import numpy as np
import pytest

from certrad.models.types import SamplingParams
from certrad.models.types.image import IMAGE_WARNINGS, ImageRadius
from certrad.workers.reports.fonts import line_height, text_width, wrapped
from certrad.workers.reports.layout import Box, Colour, Layout
from certrad.workers.reports.page import draw, page, page_layout
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import LANGUAGES, Texts, catalogue
from tests.support.certificates import ADAPTER, SCALE, WINDOWS
from tests.support.report_pages import COLOUR, LONG, NAMES, UNSURE, image, report

_TARGET: Final = SamplingParams(n0=100, n=1000, target_radius=0.3)
_WARNINGS: Final = (*IMAGE_WARNINGS, *({"burned_in_annotation"} - set(IMAGE_WARNINGS)))
REPORTS: Final = {
    "certified": report(),
    "colour": report(scale=COLOUR, window=WINDOWS[5]),
    "long class": report(names=("a", LONG, "c"), warnings=_WARNINGS),
    "class without spaces": report(names=("a", "W" * 200, "c")),
    "class in another script": report(names=("a", "肺炎", "c"), frame=12),
    "adapted": report(adapter=ADAPTER),
    "target missed": report(params=_TARGET, claim={"target_reached": False}),
    "target reached": report(params=_TARGET, claim={"target_reached": True}, window=WINDOWS[1]),
    "no image radius": report(scale=replace(SCALE, depends_on_pixels=True), window=WINDOWS[4]),
    "flat": report(scale=replace(SCALE, slope=0.0), window=WINDOWS[2]),
    "tiny image radius": report(scale=replace(SCALE, slope=1.0), window=WINDOWS[3]),
    "abstained": report(UNSURE),
    "abstained with warnings": report(UNSURE, warnings=_WARNINGS),
    "target not certifiable": report(UNSURE, params=_TARGET, claim={"reason": "target_not_certifiable"}),
}
SIZES: Final = {
    "square": (512, 512),
    "1000 pixels wide": (400, 1000),
    "tall": (3000, 500),
    "strip": (1, 5000),
    "pole": (5000, 1),
    "small": (64, 64),
    "no picture": None,
}


Key = tuple[str, str, str]


def pages() -> list[Key]:
    """Every report in every language with one of the images, and every image beside the longest texts."""
    sizes = list(SIZES)
    of_reports = [
        (name, language, sizes[(number + shift) % len(sizes)])
        for number, name in enumerate(REPORTS)
        for shift, language in enumerate(LANGUAGES)
    ]
    return [*of_reports, *(("abstained with warnings", "de", size) for size in sizes)]


@cache
def layout_of(key: Key) -> Layout:
    """The layout of a report in a language, with an image of a size."""
    name, language, size = key
    return page_layout(page_of(name, language), SIZES[size])


def page_of(name: str, language: str = "en") -> Report:
    """One of the reports, in a language."""
    return replace(REPORTS[name], language=language)


def texts(layout: Layout) -> list[str]:
    """Every text of a page."""
    return [text.text for text in layout.texts]


@pytest.mark.parametrize("key", pages(), ids="-".join)
def test_every_line_fits_into_its_box_and_every_box_into_the_page(key: Key) -> None:
    layout = layout_of(key)
    for text in layout.texts:
        assert max(text_width(line, text.weight, text.size) for line in text.lines) <= text.box.width, text
        assert line_height(text.size) * len(text.lines) <= text.box.height, text
        assert _is_inside(text.box, Box(x=0, y=0, width=layout.width, height=layout.height)), text
    if layout.picture is not None:
        assert _is_inside(layout.picture, Box(x=0, y=0, width=layout.width, height=layout.height))


@pytest.mark.parametrize("key", pages(), ids="-".join)
def test_no_text_lies_on_another_or_on_the_picture(key: Key) -> None:
    layout = layout_of(key)
    boxes = [text.box for text in layout.texts] + ([layout.picture] if layout.picture else [])
    assert [pair for pair in combinations(boxes, 2) if _overlap(*pair)] == []


@pytest.mark.parametrize("key", pages(), ids="-".join)
def test_every_text_can_be_read_on_what_is_behind_it(key: Key) -> None:
    texts = layout_of(key).texts
    assert [text for text in texts if _contrast(text.colour, text.behind) < 4.5] == []  # WCAG 2.2, 1.4.3


@pytest.mark.parametrize("name", REPORTS)
def test_ink_of_a_text_stays_in_its_box(name: str) -> None:
    layout = replace(layout_of((name, "de", "square")), panels=(), picture=None)
    inked = (draw(layout, None) != draw(replace(layout, texts=()), None)).any(axis=2)
    for text in layout.texts:
        box = text.box
        inked[box.y : box.bottom, box.x - 2 : box.right] = False  # the hook of a j reaches to the left of its place
    assert not inked.any()


@pytest.mark.parametrize("name", ["certified", "long class", "abstained"])
def test_the_colour_behind_a_text_is_the_drawn_one(name: str) -> None:
    layout = page_layout(REPORTS[name], None)
    pixels = draw(replace(layout, texts=()), None)
    wrong = [text for text in layout.texts if tuple(pixels[text.box.y + 2, text.box.x + 2]) != text.behind]
    assert wrong == []


@pytest.mark.parametrize("width", [40, 200, 664])
@pytest.mark.parametrize("text", [LONG, "W" * 200, catalogue("de")["limits.probability"], "a"])
def test_wrapping_loses_no_character(text: str, width: int) -> None:
    assert "".join("".join(wrapped(text, "Regular", 22, width)).split()) == "".join(text.split())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", REPORTS)
def test_every_page_says_that_the_result_is_unverified_and_for_research(name: str, language: str) -> None:
    said, expected = texts(page_layout(page_of(name, language), None)), catalogue(language)
    assert said[:2] == [expected["page.banner"], expected["page.research"]]


def test_banner_is_the_agreed_one() -> None:
    assert catalogue("en")["page.banner"] == "AI RESULT - UNVERIFIED"


@pytest.mark.parametrize("language", LANGUAGES)
def test_certified_page_shows_class_both_radii_scope_and_settings(language: str) -> None:
    shown, language_texts = page_of("certified", language), Texts(language)
    statement = shown.statement
    radius = statement.radius_in_image_units
    assert isinstance(radius, ImageRadius)
    said = texts(page_layout(shown, (512, 512)))
    for expected in (
        "pneumonia",
        language_texts.number(statement.claim.radius),  # type: ignore[union-attr]
        language_texts.number(radius.l2),
        catalogue(language)["scope.prompt_recorded"],
        language_texts.number(statement.params.sigma),
        language_texts.number(statement.params.alpha),
        language_texts.number(statement.samples_used),
        language_texts("certified.not_correctness"),
    ):
        assert expected in said


@pytest.mark.parametrize("name", ["certified", "abstained"])
def test_page_names_model_prompt_certificate_and_time_with_zone(name: str) -> None:
    said = texts(page_layout(REPORTS[name], None))
    for expected in (
        "demo-clip-vit-b32",
        "few-shot-0123456789abcdef",
        "3f9c2a7be4d1058c",
        "2026-11-30 06:06:36 +01:00",
        "certrad 0.1.0",
    ):
        assert expected in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_names_the_adapter_of_the_encoder(language: str) -> None:
    said = texts(page_layout(page_of("adapted", language), None))
    assert any(ADAPTER in text for text in said)
    assert any("an adapter that was fixed" in text or "einen Adapter, der feststand" in text for text in said)


def test_example_of_the_radius_is_within_the_radius() -> None:
    shown = REPORTS["certified"]
    radius = shown.statement.radius_in_image_units
    assert isinstance(radius, ImageRadius)
    (sentence,) = [text for text in texts(page_layout(shown, None)) if text.startswith("No change of the image below")]
    found = re.fullmatch(r".* below ([\d.]+) HU .* up to ([\d.]+) HU .* or (\d+) HU in any (\d+) pixels\.", sentence)
    assert found is not None
    l2, uniform, change, pixels = map(float, found.groups())
    assert l2 == radius.l2
    assert uniform**2 * radius.region.rows * radius.region.columns * radius.region.channels < l2**2
    assert change**2 * pixels * radius.region.channels < l2**2


def test_warnings_stand_above_the_result() -> None:
    layout = page_layout(report(warnings=_WARNINGS), (512, 512))
    warnings = [
        text for text in layout.texts if text.text in [catalogue("en")[f"warning.{code}"] for code in _WARNINGS]
    ]
    (name,) = [text for text in layout.texts if text.text == "pneumonia"]
    assert len(warnings) == len(_WARNINGS)
    assert max(text.box.bottom for text in warnings) < name.box.y


def test_missed_target_is_said() -> None:
    assert "Target radius 0.3 not reached" in texts(page_layout(REPORTS["target missed"], None))


def test_page_without_an_image_radius_says_why() -> None:
    said = texts(page_layout(REPORTS["no image radius"], None))
    assert "not available" in said
    assert catalogue("en")["no_image_radius.percentile"] in said


def test_class_that_the_fonts_cannot_draw_is_named_by_its_number() -> None:
    said = texts(page_layout(REPORTS["class in another script"], None))
    assert "Class 2 of 3" in said
    assert catalogue("en")["certified.class_cannot_be_drawn"] in said


def test_page_without_the_picture_says_why() -> None:
    layout = page_layout(REPORTS["certified"], None)
    assert layout.picture is None
    assert catalogue("en")["picture.none"] in texts(layout)


@pytest.mark.parametrize("size", [size for size in SIZES.values() if size is not None and min(size) > 1])
def test_picture_keeps_its_aspect(size: tuple[int, int]) -> None:
    picture = page_layout(REPORTS["certified"], size).picture
    assert picture is not None
    rows, columns = size
    assert picture.width / picture.height == pytest.approx(columns / rows, rel=0.01)


@pytest.mark.parametrize("frame", [None, 12])
@pytest.mark.parametrize("number", range(len(WINDOWS)))
def test_caption_says_which_window_was_applied(number: int, frame: int | None) -> None:
    said = " ".join(texts(page_layout(report(window=WINDOWS[number], frame=frame), (512, 400))))
    words = (
        "Window of the file (1 of 2): centre 40, width 400, SIGMOID.",
        "Lookup table of the file (1 of 1).",
        "Window of the request: centre \u2212600.5, width 1500.",
        "Window preset “brain” for CT: centre 40, width 80.",
        "Window from this image's own percentiles 1 and 99: \u22121024 to 731.25.",
        "No window: the whole range of the stored bits.",
    )
    assert words[number] in said
    assert ("Frame 12, 400 × 512 pixels" if frame else "400 × 512 pixels") in said


def test_picture_is_drawn_where_the_layout_says() -> None:
    red = np.zeros((300, 300, 3), dtype=np.uint8)
    red[..., 0] = 255
    layout = page_layout(REPORTS["certified"], (300, 300))
    assert layout.picture is not None
    box = layout.picture
    pixels = draw(layout, red)
    assert (pixels[box.y : box.bottom, box.x : box.right] == (255, 0, 0)).all()
    assert not (pixels[box.bottom :] == (255, 0, 0)).all(axis=2).any()


def test_page_of_an_abstention_has_neither_class_nor_radius_nor_any_number_of_its_result() -> None:
    one = report(UNSURE, params=_TARGET, claim={"reason": "no_majority"})
    other = report(
        (0.3, 0.4, 0.2, 0.1),
        names=("xanthoma", *NAMES),
        sigma=0.5,
        params=SamplingParams(n0=50, n=400, alpha=0.01),
        claim={"reason": "no_majority"},
    )
    assert page_layout(one, (64, 64)) == page_layout(other, (64, 64))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["abstained", "target not certifiable"])
def test_abstention_says_what_it_means_and_what_to_do(name: str, language: str) -> None:
    shown = page_of(name, language)
    said, expected = texts(page_layout(shown, (64, 64))), catalogue(language)
    reason = shown.statement.claim.reason  # type: ignore[union-attr]
    for key in ("title", "meaning", "not_a_finding", f"reason.{reason}", "advice", f"next_step.{reason}"):
        assert expected[f"abstained.{key}"] in said


def test_the_same_report_has_the_same_pixels() -> None:
    shown = image(200, 300, colour=True)
    assert np.array_equal(page(REPORTS["certified"], shown), page(report(), shown.copy()))


def _is_inside(box: Box, outer: Box) -> bool:
    return box.x >= outer.x and box.y >= outer.y and box.right <= outer.right and box.bottom <= outer.bottom


def _overlap(one: Box, other: Box) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def _luminance(colour: Colour) -> float:
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: Colour, other: Colour) -> float:
    dark, bright = sorted((_luminance(one), _luminance(other)))
    return (bright + 0.05) / (dark + 0.05)
