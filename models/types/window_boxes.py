"""Boxes of windows, as a request and a document list them, and the finitely many windows that they stand for.

Every window is rounded to the lattice before it is rendered, so the answers for all real windows of a box are the
answers for its cells (docs/mathematics.md, 9).
"""

from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    RoundedWindow,
)
from certrad.models.types.renderings import CellVariant
from certrad.models.types.window_lattice import WindowFunction, WindowRange

GREY_LEVELS: Final = (127.5, 255.0)
"""Centre and width of the window that shows the grey levels 0 to 255 of a file of 8 bits as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBox:
    """Every window whose centre and width are near those of the window in force.

    Attributes:
        centre: How far the centre may move, in the unit of the file's values; 0 or more.
        width: The factor c by which the width W may change, 1 or more: from W/c to cW.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    centre: float
    width: float
    kind: Literal["window_box/1"] = "window_box/1"

    def __post_init__(self) -> None:
        if not (isfinite(self.centre) and isfinite(self.width) and self.centre >= 0 and self.width >= 1):
            raise ValueError("a window box needs a centre of at least 0, and a factor of the width of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBounds:
    """Every window with a centre and a width between two numbers, in the unit of the file's values.

    Attributes:
        centre: The smallest and the largest centre.
        width: The smallest and the largest width.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    centre: tuple[float, float]
    width: tuple[float, float]
    kind: Literal["window_bounds/1"] = "window_bounds/1"

    def __post_init__(self) -> None:
        self.range.first_cells(0)  # raises ValueError where the lattice lacks the narrowest windows

    @property
    def range(self) -> WindowRange:
        """Returns the box."""
        return WindowRange(
            centre_low=self.centre[0], centre_high=self.centre[1], width_low=self.width[0], width_high=self.width[1]
        )


BoxList = WindowBox | WindowBounds


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseWindow:
    """The window that a box is about: its function is that of every cell.

    Attributes:
        function: Its function.
        centre: Its centre, as the header or the request has it.
        width: Its width.
    """

    function: WindowFunction
    centre: float
    width: float


def window_in_force(applied: AppliedWindow | None) -> BaseWindow | None:
    """Returns the window that boxes of an image are about; None where it has none.

    The full range has one where the file has 8 bits; whether it has them, only the file knows.

    Args:
        applied: The window that was applied to the image.
    """
    if isinstance(applied, RoundedWindow):
        return BaseWindow(function=applied.function, centre=applied.centre, width=applied.width)
    if isinstance(applied, FullRange):
        return BaseWindow(function="LINEAR_EXACT", centre=GREY_LEVELS[0], width=GREY_LEVELS[1])
    return None


def box_range(listed: BoxList, base: BaseWindow) -> WindowRange:
    """Returns the box that a list stands for.

    Args:
        listed: The list.
        base: The window in force.

    Raises:
        ValueError: It reaches a window that is a step, or that the lattice does not have.
    """
    if isinstance(listed, WindowBounds):
        box = listed.range
    else:
        box = WindowRange(
            centre_low=base.centre - listed.centre,
            centre_high=base.centre + listed.centre,
            width_low=base.width / listed.width,
            width_high=base.width * listed.width,
        )
    if base.function == "LINEAR" and (box.width_low <= 1 or next(box.cells()).width <= 1):
        raise ValueError(f"a box of LINEAR windows must stay above the width 1, got {box.width_low!r}")
    return box


def box_cells(listed: BoxList, base: BaseWindow, most: int) -> list[CellVariant]:
    """Returns the windows of the lattice that a list stands for, by width and then by centre.

    Args:
        listed: The list.
        base: The window in force.
        most: How many there may be; where there are more, one more is returned.

    Raises:
        ValueError: See `box_range`.
    """
    return [
        CellVariant(centre=each.centre, width=each.width, function=base.function)
        for each in box_range(listed, base).first_cells(most)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxNumbers:
    """A box of windows as numbers, for whoever shows it.

    Attributes:
        centre: The smallest and the largest centre, in the unit of the file's values.
        width: The smallest and the largest width.
        function: The function of every window in it.
        cells: How many windows of the lattice it stands for.
    """

    centre: tuple[float, float]
    width: tuple[float, float]
    function: WindowFunction
    cells: int


def box_numbers(listed: BoxList, base: BaseWindow, most: int) -> BoxNumbers:
    """Returns the ends of a box, its function and the number of its cells.

    Args:
        listed: The list.
        base: The window in force.
        most: Cells that are counted, at most, and one more.

    Raises:
        ValueError: See `box_range`.
    """
    box = box_range(listed, base)
    return BoxNumbers(
        centre=(box.centre_low, box.centre_high),
        width=(box.width_low, box.width_high),
        function=base.function,
        cells=len(box.first_cells(most)),
    )
