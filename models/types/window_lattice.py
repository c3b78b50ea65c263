"""The lattice that every window is rounded to before an image is rendered (docs/mathematics.md, 9).

A width W becomes w_j = e^(j/64) with the nearest j on the logarithmic scale, and a centre C becomes i w_j / 64 with the
nearest i. The lattice has no unit and depends on no header, so a box of windows is finitely many cells: whoever has
tried all cells of the box has tried every real window in it. Both steps are monotone as they are executed: j compares
W with a table of thresholds, i takes one correctly rounded division, one addition and one floor.

The thresholds e^((j - 1/2)/64) and the widths are computed to 40 digits and rounded once to float64, so that they are
the same on every machine; the library of exponentials of the machine has no part in them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from itertools import islice
from math import floor, isfinite, log
from typing import Final, Literal

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
"""The functions of a window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

STEPS: Final = 64
"""Cells of one unit of ln W, and of one width; D = 1/64 is fixed for ever, because documents rest on it."""
LATTICE: Final = f"1/{STEPS}"
"""The name of D in words."""

_CONTEXT: Final = Context(prec=40)
_J_MAX: Final = 40 * STEPS
_I_MAX: Final = 1 << 52


@lru_cache(maxsize=4 * _J_MAX)
def _exponential(twice_j: int) -> float:
    """Returns e^(twice_j / 128), computed to 40 digits and rounded once to the nearest float64."""
    return float(_CONTEXT.exp(_CONTEXT.divide(Decimal(twice_j), Decimal(2 * STEPS))))


@dataclass(frozen=True, slots=True, order=True)
class WindowCell:
    """One window of the lattice.

    Attributes:
        j: Index of its width.
        i: Index of its centre, in steps of 1/64 of that width.
    """

    j: int
    i: int

    def __post_init__(self) -> None:
        if abs(self.j) > _J_MAX or abs(self.i) > _I_MAX:
            raise ValueError(f"a window is too narrow, too wide or too far from 0 for the lattice: {self.j}, {self.i}")

    @property
    def width(self) -> float:
        """Returns the width that is rendered, within a factor e^(1/128) of every width that is rounded to it."""
        return _exponential(2 * self.j)

    @property
    def centre(self) -> float:
        """Returns the centre that is rendered, within 1/128 of the width of every centre that is rounded to it."""
        return self.i * _step(self.j)


def _step(j: int) -> float:
    return _exponential(2 * j) / STEPS


def _width_index(width: float) -> int:
    """Returns j: the largest one whose threshold the width reaches."""
    if not (isfinite(width) and width > 0):
        raise ValueError(f"the width of a window must be finite and above 0, got {width!r}")
    j = round(log(width) * STEPS)  # a guess, which the comparisons below correct
    if abs(j) > _J_MAX:
        raise ValueError(f"the width of a window must be in e^-40..e^40, got {width!r}")
    while width < _exponential(2 * j - 1):
        j -= 1
    while width >= _exponential(2 * j + 1):
        j += 1
    return j


def _centre_index(centre: float, j: int) -> int:
    """Returns i: the nearest integer to the centre in steps of its width, upwards at a half."""
    steps = centre / _step(j) + 0.5
    if not abs(steps) <= _I_MAX:
        raise ValueError(f"the centre of a window must be finite and near enough to 0 for its width, got {centre!r}")
    return floor(steps)


def cell(centre: float, width: float) -> WindowCell:
    """Returns Q(C, W): the cell that a window is rounded to.

    Args:
        centre: Centre C, in any unit.
        width: Width W in the same unit, above 0.

    Raises:
        ValueError: A number is not finite, or the lattice has no such window.
    """
    j = _width_index(width)
    return WindowCell(j=j, i=_centre_index(centre, j))


def rendered_cell(function: WindowFunction, centre: float, width: float) -> WindowCell:
    """Returns the cell that a window of a function is rendered with.

    Args:
        function: The function of the window.
        centre: Centre C, in any unit.
        width: Width W in the same unit.

    Raises:
        ValueError: The lattice has no such window, or it is a step: LINEAR is one at the width 1.
    """
    found = cell(centre, width)
    if function == "LINEAR" and found.width <= 1:
        raise ValueError(f"a LINEAR window must be wider than 1 after it was rounded, got {width!r}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRange:
    """A closed box of windows, in the unit of the image's values after the modality step.

    Attributes:
        centre_low: The smallest centre.
        centre_high: The largest centre.
        width_low: The smallest width.
        width_high: The largest width.
    """

    centre_low: float
    centre_high: float
    width_low: float
    width_high: float

    def __post_init__(self) -> None:
        if not all(map(isfinite, (self.centre_low, self.centre_high, self.width_low, self.width_high))):
            raise ValueError("the ends of a box of windows must be finite")
        if not (self.centre_low <= self.centre_high and 0 < self.width_low <= self.width_high):
            raise ValueError("a box of windows must go from a smaller to a larger number, with widths above 0")

    def cells(self) -> Iterator[WindowCell]:
        """Yields every cell that the box touches, by width and then by centre.

        Q is monotone in the width, and in the centre at one width. So every window of the box is rounded to one of
        these, and each of these is a window that somebody may open.

        Raises:
            ValueError: The lattice has no such windows.
        """
        first, last = _width_index(self.width_low), _width_index(self.width_high)
        for j in range(first, last + 1):
            for i in range(_centre_index(self.centre_low, j), _centre_index(self.centre_high, j) + 1):
                yield WindowCell(j=j, i=i)

    def first_cells(self, most: int) -> list[WindowCell]:
        """Returns the cells of the box, at most so many and one more, so that a huge box costs nothing.

        Args:
            most: The number of cells that is allowed.

        Raises:
            ValueError: The lattice has no such windows.
        """
        return list(islice(self.cells(), most + 1))
