"""Documents with a box of windows: both verifiers find its cells by themselves, each present once and in order."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

import pytest

from certrad.models.certificates.document import certification_result
from certrad.models.certificates.noise_key import noise_key as key_of
from certrad.models.certificates.verify import verify
from certrad.models.types import SmoothingParams
from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    HeaderTable,
    HeaderWindow,
    PercentileRange,
    SentWindow,
    TaskWindow,
)
from certrad.models.types.variant_lists import NamedWindows, Shifts, VariantList
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window import FixedWindow, PresetWindow, WindowPreset
from certrad.models.types.window_boxes import WindowBounds, WindowBox
from tests.support.certificates import EPOCH_SECRET, Case, facts, genuine
from tests.unit.models.certificates.test_variants_in_document import (
    _LEFT_TO_OTHERS,
    KNOWN,
    Run,
    changed,
    changes,
    run,
    signed,
)

__all__ = ["run"]

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)


def header(width: float) -> HeaderWindow:
    return HeaderWindow(number=1, of=1, centre=40.0, width=width, function="LINEAR")


HEAD: Final = header(400.0)
SMALL: Final = WindowBox(centre=7.0, width=1.02)


def case(*lists: VariantList, window: AppliedWindow = HEAD, **others: Any) -> Case:
    asked = VariantsRequest(lists=lists, n=20, radius=0.05)
    return Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, variants=asked, window=window, **others)


def refused(content: bytes) -> set[str]:
    return {check.name for check in verify(content, KNOWN).checks if not check.ok}


@pytest.mark.parametrize(
    ("window", "listed", "cells"),
    [
        (HEAD, WindowBox(centre=37.0, width=1.28), 417),
        (HEAD, WindowBounds(centre=(3.0, 77.0), width=(312.5, 512.0)), 417),
        (HEAD, SMALL, 14),
        (HEAD, WindowBox(centre=0.0, width=1.0), 1),
        (HeaderWindow(number=1, of=1, centre=40.0, width=400.0, function="SIGMOID"), SMALL, 14),
        (SentWindow(centre=-600.0, width=1500.0), WindowBox(centre=30.0, width=1.01), 10),
        (TaskWindow(modality="CT", name="brain", centre=40.0, width=80.0), WindowBox(centre=2.0, width=1.0), 4),
        (FullRange(), WindowBox(centre=5.0, width=1.02), 14),
    ],
)
def test_both_verifiers_find_the_cells_of_a_box_by_themselves(
    window: AppliedWindow, listed: VariantList, cells: int, run: Run
) -> None:
    content = genuine(case(listed, Shifts(pixels=1), window=window))
    assert [check for check in verify(content, KNOWN).checks if not check.ok] == []
    assert run(content) == 0
    kinds = [row["rendering"]["kind"] for row in json.loads(content)["claims"][-1]["rows"]]
    assert kinds.count("window_cell/1") == cells


@pytest.mark.parametrize("failing", [None, 2], ids=["held", "failed"])
def test_every_single_change_of_a_box_is_refused_by_both_verifiers(failing: int | None, run: Run) -> None:
    document = json.loads(genuine(case(WindowBox(centre=3.0, width=1.0), failing=failing)))
    every = [(("claims", 2, *at), value) for at, value in changes(document["claims"][-1])]
    assert len(every) > 40
    for at, value in every:
        content = signed(changed(document, at, value))
        assert not verify(content, KNOWN).valid, at
        if at[-1] not in _LEFT_TO_OTHERS:
            assert run(content) == 1, at


def without_a_row(rows: list[dict[str, Any]]) -> None:
    del rows[4]


def with_a_row_twice(rows: list[dict[str, Any]]) -> None:
    rows[4] = rows[3]


def in_another_order(rows: list[dict[str, Any]]) -> None:
    rows[3], rows[4] = rows[4], rows[3]


def with_a_window_off_the_lattice(rows: list[dict[str, Any]]) -> None:
    rows[4]["rendering"]["width"] = "400.0"


def with_the_next_cell_of_the_lattice(rows: list[dict[str, Any]]) -> None:
    rows[-1]["rendering"]["centre"] = rows[0]["rendering"]["centre"]


def with_another_input_for_the_window_of_the_file(rows: list[dict[str, Any]]) -> None:
    window = json.loads(genuine(case(SMALL)))["subject"]["window"]
    rendered = window["rendered_centre"], window["rendered_width"]
    shown = [(row["rendering"]["centre"], row["rendering"]["width"]) for row in rows]
    own = rows[shown.index(rendered)]
    own["input_sha256"], own["key"] = "ab" * 32, "cd" * 32


@pytest.mark.parametrize(
    "forge",
    [
        without_a_row,
        with_a_row_twice,
        in_another_order,
        with_a_window_off_the_lattice,
        with_the_next_cell_of_the_lattice,
        with_another_input_for_the_window_of_the_file,
    ],
)
def test_box_without_one_of_its_cells_is_refused_by_both_verifiers(
    forge: Callable[[list[dict[str, Any]]], None], run: Run
) -> None:
    document = json.loads(genuine(case(SMALL)))
    forge(document["claims"][-1]["rows"])
    content = signed(document)
    assert refused(content) & {"variant_lists", "schema"}
    assert run(content) == 1


@pytest.mark.parametrize(
    "window",
    [HeaderTable(number=1, of=1), PercentileRange(low=0.0, high=100.0), header(1.5), None],
    ids=["table", "percentiles", "narrow", "none"],
)
def test_box_about_a_file_without_such_a_window_is_refused_by_both_verifiers(
    window: AppliedWindow | None, run: Run
) -> None:
    document = json.loads(genuine(case(WindowBox(centre=7.0, width=1.6))))
    other = json.loads(genuine(replace(case(Shifts(pixels=1)), window=window or FullRange())))
    document["subject"]["window"] = None if window is None else other["subject"]["window"]
    content = signed(document)
    assert refused(content)
    assert run(content) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("unit",), "HU"),
        (("unit",), "stored value"),
        (("factors", "slope"), "0.0000152590219"),
        (("region", "channels"), "3"),
    ],
)
def test_box_about_a_file_without_a_window_needs_one_channel_of_eight_bits(
    field: tuple[str, ...], value: str, run: Run
) -> None:
    document = json.loads(genuine(case(SMALL, window=FullRange())))
    content = signed(changed(document, ("claims", 1, *field), value))
    assert "variant_lists" in refused(content)
    assert run(content) == 1


def test_two_inputs_of_one_rendering_are_refused_whatever_names_it(run: Run) -> None:
    """A window of the request, a preset and a cell of a box that are rounded to one window, and a shift named twice."""
    sent = FixedWindow(centre=41.0, width=401.0)
    preset = PresetWindow(preset=WindowPreset(modality="CT", name="like_it", centre=41.1, width=401.1))
    cell = WindowBounds(centre=(41.0, 41.0), width=(401.0, 401.0))
    made = case(NamedWindows(windows=(sent, preset)), cell, Shifts(pixels=1), Shifts(pixels=1), window=header(600.0))
    document = json.loads(genuine(made))
    assert [check for check in verify(signed(document), KNOWN).checks if not check.ok] == []
    assert run(signed(document)) == 0
    rows = document["claims"][-1]["rows"]
    for place in (1, 2, 11):
        other = deepcopy(document)
        row = other["claims"][-1]["rows"][place]
        row["input_sha256"], row["key"] = "ab" * 32, noise_key(document, "ab" * 32)
        content = signed(other)
        assert refused(content) == {"variant_lists"}, rows[place]
        assert run(content) == 1, rows[place]


def test_window_of_the_file_under_another_name_has_the_input_of_the_file(run: Run) -> None:
    """The request names the window that the header has, too: both are one rendering."""
    window = SentWindow(centre=40.0, width=400.0)
    document = json.loads(genuine(case(NamedWindows(windows=(FixedWindow(centre=40.0, width=400.0),)), window=HEAD)))
    assert document["subject"]["window"]["rendered_width"] == str(window.rendered_width)
    assert run(signed(document)) == 0
    row = document["claims"][-1]["rows"][0]
    row["input_sha256"], row["key"] = "ab" * 32, noise_key(document, "ab" * 32)
    content = signed(document)
    assert refused(content) == {"variant_lists"}
    assert run(content) == 1


def noise_key(document: dict[str, Any], input_sha256: str) -> str:
    """The key that the issuer's secret gives to another model input of a document."""
    digests = document["noise"]["classifier_sha256"], document["noise"]["settings_sha256"]
    return key_of(EPOCH_SECRET, input_sha256, *digests).hex()


@pytest.mark.parametrize(("field", "value"), [("rendered_centre", "43.0"), ("rendered_width", "400.0")])
def test_window_of_the_file_states_what_it_was_rounded_to(field: str, value: str, run: Run) -> None:
    document = json.loads(genuine(case(Shifts(pixels=1))))
    document["subject"]["window"][field] = value
    content = signed(document)
    assert "schema" in refused(content)
    assert run(content) == 1


def test_words_name_the_box_its_unit_and_its_limits() -> None:
    text = json.loads(genuine(case(WindowBounds(centre=(3.0, 77.0), width=(312.5, 512.0)))))["claims"][-1]["text"]
    assert (
        "Every window with a centre from 3 to 77 HU and a width from 312.5 to 512 HU gives class 0 under noise: all "
        "417 windows that these are rounded to were tried."
    ) in text
    assert "It does not say that the answer is right, nor that the finding is visible in such a window." in text
    assert "an image that a viewer saved" not in text


def test_words_about_a_file_of_eight_bits_speak_of_the_service_alone() -> None:
    text = json.loads(genuine(case(SMALL, window=FullRange())))["claims"][-1]["text"]
    assert "an image that a viewer saved in another window is another file, and is not covered" in text


def test_box_that_fails_names_a_window_that_anyone_can_open() -> None:
    text = json.loads(genuine(case(SMALL, failing=5)))["claims"][-1]["text"]
    assert "Least was shown for window of centre 37.2351, width 397.174 on the lattice: " in text
    assert "Every window" not in text


def test_result_has_the_box_as_numbers() -> None:
    made = certification_result(facts(case(WindowBox(centre=37.0, width=1.28))), warnings=(), timing={}).variants
    assert made is not None
    [box] = made.boxes
    assert (box.centre, box.width, box.function, box.cells) == ((3.0, 77.0), (312.5, 512.0), "LINEAR", 417)
