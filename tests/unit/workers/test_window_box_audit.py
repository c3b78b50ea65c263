"""The audit of boxes attacks what the service renders: in PNG and DICOM, under every function, inverted and not."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.audit.window_boxes import ANCHORED, BOX_MODE, DROPPED, BoxFinding
from certrad.models.types.applied_window import FullRange, HeaderWindow, SentWindow
from certrad.models.types.window_lattice import WindowFunction
from certrad.workers.offline.shown_levels import KINDS, ShownLevels, shown_levels
from certrad.workers.offline.window_box_audit import attack
from tests.support import tiny_clip

CARD: Final = tiny_clip.card("open_clip")
LEVELS: Final = np.arange(256, dtype=np.uint8).reshape(16, 16)


def one_class(seen: Sequence[NDArray[np.float32]]) -> list[int]:
    return [0 for _ in seen]


def found(mode: str, image: ShownLevels) -> BoxFinding:
    return attack(mode, image, CARD, one_class, Random(1))


@pytest.mark.parametrize("place", range(KINDS))
def test_every_true_window_is_one_that_the_service_tried(place: int) -> None:
    assert found(BOX_MODE, shown_levels(LEVELS, place)) == BoxFinding(
        held=True, tried=452, attacked=450, contradictions=0, untried=0
    )


@pytest.mark.parametrize("mode", [DROPPED, ANCHORED])
def test_box_that_is_wrong_on_purpose_leaves_windows_untried(mode: str) -> None:
    assert found(mode, shown_levels(LEVELS, 3)).untried > 0


@pytest.mark.parametrize("place", [0, 2, 3, 4, 5])
def test_service_that_mistook_function_or_inversion_would_be_noticed(place: int) -> None:
    """It renders the box as that of the next kind of file."""
    image, other = shown_levels(LEVELS, place), shown_levels(LEVELS, place + 1)
    rewindow = other.first.rewindow
    assert rewindow is not None

    def mistaken(_: WindowFunction, centre: float, width: float) -> NDArray[np.float64]:
        return rewindow(other.function, centre, width)

    wrong = replace(image, first=replace(image.first, rewindow=mistaken))
    assert found(BOX_MODE, wrong).untried > 0


def test_every_function_is_shown_with_and_without_inversion() -> None:
    shown = [shown_levels(LEVELS, place) for place in range(KINDS)]
    windows = [type(each.first.facts.window) for each in shown]
    assert windows == [FullRange, SentWindow, *[HeaderWindow] * 5]
    inverted = [each.first.facts.transforms[-1:] == ("invert",) for each in shown]
    kinds = {*zip((each.function for each in shown), inverted, strict=True)}
    assert kinds == {(function, black) for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID") for black in (False, True)}
