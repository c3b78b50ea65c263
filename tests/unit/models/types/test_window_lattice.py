"""The lattice of windows: golden boxes, every real window of a box on its list, and the wrong versions caught."""

import random
from itertools import pairwise
from math import exp, floor

import pytest
from mpmath import mp, mpf

from certrad.models.types.window_lattice import STEPS, WindowCell, WindowRange, cell

HEAD = WindowRange(centre_low=3.0, centre_high=77.0, width_low=312.5, width_high=512.0)


def box(centre: float, width: float, by: float, factor: float) -> WindowRange:
    return WindowRange(
        centre_low=centre - by, centre_high=centre + by, width_low=width / factor, width_high=width * factor
    )


@pytest.mark.parametrize(
    ("touched", "cells"),
    [
        (HEAD, 417),
        (box(40.0, 80.0, 10.0, 1.28), 548),
        (box(-600.0, 1500.0, 150.0, 1.28), 463),
        (box(127.5, 255.0, 26.0, 1.28), 452),
        (box(127.5, 255.0, 13.0, 1.1), 99),
        (box(40.0, 400.0, 0.0, 1.0), 1),
    ],
)
def test_golden_boxes_have_so_many_cells(touched: WindowRange, cells: int) -> None:
    found = list(touched.cells())
    assert len(found) == len(set(found)) == cells
    assert found == sorted(found)


def test_every_real_window_of_a_box_is_rounded_to_a_cell_of_the_box() -> None:
    """The list without the last centre of each row, which is wrong, would miss 4.4% of them."""
    known, drawn, missed, at_the_end = set(HEAD.cells()), random.Random(1), 0, 0
    last = {j: max(each.i for each in known if each.j == j) for j in {each.j for each in known}}
    for _ in range(200_000):
        centre, width = drawn.uniform(3.0, 77.0), drawn.uniform(312.5, 512.0)
        found = cell(centre, width)
        missed += found not in known
        at_the_end += found.i == last[found.j]
        assert abs(found.centre - centre) <= found.width / (2 * STEPS) * (1 + 1e-12)
        assert abs(found.width / width - 1) <= (exp(1 / (2 * STEPS)) - 1) * (1 + 1e-12)
    assert missed == 0
    assert 0.035 < at_the_end / 200_000 < 0.053


def test_corners_of_a_box_are_in_it() -> None:
    known = set(HEAD.cells())
    assert {cell(centre, width) for centre in (3.0, 77.0) for width in (312.5, 512.0)} <= known


def test_every_cell_of_a_box_is_the_cell_of_a_window_in_the_box() -> None:
    """So a box that fails has a counterexample that anyone can open."""
    reached = set()
    for each in HEAD.cells():
        width = min(max(each.width, 312.5), 512.0)
        reached.add(cell(min(max(each.centre, 3.0), 77.0), width))
    assert reached == set(HEAD.cells())


def test_windows_of_the_lattice_are_rounded_to_themselves() -> None:
    assert all(cell(each.centre, each.width) == each for each in HEAD.cells())


def test_rounding_does_not_depend_on_where_the_header_stands() -> None:
    """A lattice that is anchored at the header, which is wrong, has two headers disagree about the window at 50."""

    def anchored(header: float, centre: float, step: float = 6.25) -> float:
        return header + step * floor((centre - header) / step + 0.5)

    assert anchored(40.0, 50.0) != anchored(43.0, 50.0)
    boxes = [box(header, 400.0, 10.0, 1.0) for header in (40.0, 43.0)]
    shared = [set(each.cells()) for each in boxes]
    assert cell(50.0, 400.0) in shared[0] & shared[1]
    for centre in (43.0, 46.5, 50.0):  # in both boxes: both lists hold the same cell
        assert cell(centre, 400.0) in shared[0] & shared[1]


def test_thresholds_and_widths_are_those_of_thirty_digits_correctly_rounded() -> None:
    with mp.workdps(30):
        for j in range(-640, 1280):
            threshold, width = float(mp.exp(mpf(2 * j - 1) / 128)), float(mp.exp(mpf(j) / 64))
            assert WindowCell(j=j, i=0).width == width
            assert cell(0.0, threshold).j == j
            below = float(mp.mpf(threshold) - mp.mpf(threshold) * mpf(2) ** -52)
            assert cell(0.0, below).j == j - 1


def test_rounding_is_monotone_in_width_and_in_centre() -> None:
    widths = [cell(0.0, 2.0 + k / 64).j for k in range(64_000)]
    centres = [cell(-500.0 + k / 64, 80.0).i for k in range(64_000)]
    assert all(0 <= b - a <= 1 for found in (widths[1000:], centres) for a, b in pairwise(found))


def test_ten_units_of_a_narrow_window_are_rounded_to_few_cells() -> None:
    assert len(list(box(40.0, 400.0, 10.0, 1.0).cells())) in (3, 4, 5)


def test_huge_box_is_not_counted_to_its_end() -> None:
    huge = WindowRange(centre_low=-1e12, centre_high=1e12, width_low=2.0, width_high=1e9)
    assert len(huge.first_cells(2048)) == 2049


@pytest.mark.parametrize(
    ("centre", "width"),
    [(0.0, 0.0), (0.0, -1.0), (0.0, float("inf")), (float("nan"), 1.0), (1e300, 1.0), (0.0, 1e-30), (0.0, 1e30)],
)
def test_windows_that_the_lattice_does_not_have_are_refused(centre: float, width: float) -> None:
    with pytest.raises(ValueError, match="window"):
        cell(centre, width)


@pytest.mark.parametrize("ends", [(5.0, 4.0, 1.0, 2.0), (4.0, 5.0, 2.0, 1.0), (4.0, 5.0, 0.0, 1.0)])
def test_boxes_from_a_larger_to_a_smaller_number_are_refused(ends: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box of windows"):
        WindowRange(centre_low=ends[0], centre_high=ends[1], width_low=ends[2], width_high=ends[3])
