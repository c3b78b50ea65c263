"""The audit of boxes of windows finds nothing against the service's own way, and both ways that are wrong."""

from collections.abc import Sequence
from random import Random
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.audit.modes import split_modes
from certrad.models.audit.window_boxes import (
    ANCHORED,
    BOX_MODE,
    DROPPED,
    BoxFinding,
    boxes_as_markdown,
    judge,
    search,
    tried_windows,
    true_windows,
)
from certrad.models.types.window_lattice import WindowRange, cell

BOX: Final = WindowRange(centre_low=101.5, centre_high=153.5, width_low=200.0, width_high=326.4)
VALUES: Final = np.arange(256.0)


def as_it_is(centre: float, width: float) -> NDArray[np.float32]:
    return np.clip((VALUES - (centre - 0.5)) / (width - 1) + 0.5, 0, 1).astype(np.float32)


def as_the_service(centre: float, width: float) -> NDArray[np.float32]:
    found = cell(centre, width)
    return as_it_is(found.centre, found.width)


def brightness_below(share: float) -> object:
    """A classifier that answers 1 where an image is brighter on average than this."""

    def label(seen: Sequence[NDArray[np.float32]]) -> list[int]:
        return [int(each.mean() > share) for each in seen]

    return label


def one_class(seen: Sequence[NDArray[np.float32]]) -> list[int]:
    return [0 for _ in seen]


def found(mode: str, label: object = one_class) -> BoxFinding:
    true = as_it_is if mode == ANCHORED else as_the_service
    tried = [as_it_is(*window) for window in tried_windows(mode, BOX)]
    return search(tried, BOX, true, label, 15, Random(1))  # type: ignore[arg-type]


def test_no_true_window_contradicts_the_box_of_the_service() -> None:
    assert found(BOX_MODE) == BoxFinding(held=True, tried=452, attacked=450, contradictions=0, untried=0)


@pytest.mark.parametrize("mode", [DROPPED, ANCHORED])
def test_box_that_is_wrong_on_purpose_is_noticed(mode: str) -> None:
    verdict = judge(mode, [found(mode)])
    assert verdict.noticed
    assert not verdict.broken  # it is not the service's
    assert verdict.untried == 1


def test_other_answer_at_a_window_that_was_left_out_is_a_contradiction() -> None:
    """The darkest of all renderings is that of the last centre in the last row of widths, or near it."""
    shown = [as_it_is(*window).mean() for window in tried_windows(DROPPED, BOX)]
    darkest = float(min(as_the_service(*window).mean() for window in true_windows(BOX, 15, Random(1))))
    assert darkest < min(shown)
    finding = found(DROPPED, brightness_below((darkest + float(min(shown))) / 2))
    assert finding.held
    assert finding.contradictions > 0
    assert judge(DROPPED, [finding]).contradictions == 1


def test_the_services_own_mode_is_broken_by_one_finding() -> None:
    hole = BoxFinding(held=True, tried=5, attacked=9, contradictions=0, untried=1)
    assert judge(BOX_MODE, [found(BOX_MODE), hole]).broken


def test_box_that_does_not_hold_claims_nothing() -> None:
    finding = found(BOX_MODE, brightness_below(0.5))
    assert (finding.held, finding.attacked) == (False, 0)
    assert not judge(BOX_MODE, [finding]).broken


def test_grid_has_the_corners_of_the_box_and_nothing_outside() -> None:
    windows = true_windows(BOX, 15, Random(1))
    assert {(c, w) for c in (101.5, 153.5) for w in (200.0, 326.4)} <= set(windows)
    assert all(101.5 <= centre <= 153.5 and 200.0 <= width <= 326.4 for centre, width in windows)


@pytest.mark.parametrize(
    ("names", "radii", "boxes"),
    [
        (None, None, []),
        ("window_box", "", ["window_box"]),
        ("gated,window_box/dropped,window_box", "gated", ["window_box", "window_box/dropped"]),
        ("gated", "gated", []),
    ],
)
def test_modes_of_boxes_are_told_from_those_of_a_radius(names: str | None, radii: str | None, boxes: list[str]) -> None:
    assert split_modes(names) == (radii, boxes)


def test_table_says_which_modes_are_wrong_on_purpose() -> None:
    table = boxes_as_markdown([judge(mode, [found(mode)]) for mode in (BOX_MODE, DROPPED)])
    assert "| window_box | 1 | 1 | 450 | 0 | 0 |" in table
    assert "| window_box/dropped (wrong on purpose) | 1 | 1 | 450 | 0 | 1 |" in table
