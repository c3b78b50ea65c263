"""The audit of boxes of windows: a grid search over true windows, against the claim that one class holds for all.

The claim is exact, so one window that contradicts it is a proof that it is false: no probability plays a part. Two
things are looked for: a window of the box with another answer, and one whose rendering is none of those that were
tried, which leaves a hole in the claim even where the answer happens to be the same.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.types.window_lattice import WindowCell, WindowRange

BOX_MODE: Final = "window_box"
DROPPED: Final = "window_box/dropped"
ANCHORED: Final = "window_box/anchored"
BOX_MODES: Final = (BOX_MODE, DROPPED, ANCHORED)
"""The box as the service tries it, and two that are wrong on purpose: a centre is missing in each row; windows are
rounded to a grid that begins at the window of each request, so that two requests round one window differently."""

Show = Callable[[float, float], NDArray[np.float32]]
"""Centre and width of a window -> the model input, as the service renders a request with that window."""
Label = Callable[[Sequence[NDArray[np.float32]]], list[int]]
"""Model inputs -> labels of the base classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFinding:
    """What the search found for one image.

    Attributes:
        held: Whether the mode claims one class for the box.
        tried: Windows of the lattice that the mode tried.
        attacked: True windows that were opened against the claim; 0 where there is none.
        contradictions: Those with another answer.
        untried: Those whose rendering the mode did not try.
    """

    held: bool
    tried: int
    attacked: int
    contradictions: int
    untried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxVerdict:
    """The findings of one mode.

    Attributes:
        mode: Name of the mode.
        planted: Wrong on purpose.
        images: Number of images.
        held: Images with a claim.
        attacked: Windows that were opened against these claims.
        contradictions: Images with a window of another answer.
        untried: Images with a window whose rendering was not tried.
    """

    mode: str
    planted: bool
    images: int
    held: int
    attacked: int
    contradictions: int
    untried: int

    @property
    def noticed(self) -> bool:
        """Returns whether the search showed that a claim of the mode is false or has a hole."""
        return self.contradictions > 0 or self.untried > 0

    @property
    def broken(self) -> bool:
        """Returns whether the mode is the service's own, and its claim is not kept."""
        return self.noticed and not self.planted


def tried_windows(mode: str, box: WindowRange) -> list[tuple[float, float]]:
    """Returns the windows that a mode tries for a box, in order.

    Args:
        mode: One of `BOX_MODES`.
        box: The box.
    """
    cells = list(box.cells())
    if mode == DROPPED:
        last = {cell.j: cell for cell in cells}
        cells = [cell for cell in cells if last[cell.j] != cell]
    if mode == ANCHORED:
        return [_anchored(box, cell) for cell in cells]
    return [(cell.centre, cell.width) for cell in cells]


def _anchored(box: WindowRange, cell: WindowCell) -> tuple[float, float]:
    """Returns a window of the grid that begins in the middle of the box."""
    middle, step = (box.centre_low + box.centre_high) / 2, cell.width / 64
    return middle + step * round((cell.centre - middle) / step), cell.width


def true_windows(box: WindowRange, steps: int, random: Random) -> list[tuple[float, float]]:
    """Returns windows of a box: a grid with its ends and corners, and as many at random.

    Args:
        box: The box.
        steps: Centres, and widths, of the grid.
        random: Draws the others.
    """
    centres = [float(x) for x in np.linspace(box.centre_low, box.centre_high, steps)]
    widths = [float(x) for x in np.geomspace(box.width_low, box.width_high, steps).clip(box.width_low, box.width_high)]
    drawn = [
        (random.uniform(box.centre_low, box.centre_high), random.uniform(box.width_low, box.width_high))
        for _ in range(steps * steps)
    ]
    return [*product(centres, widths), *drawn]


def search(
    tried: Iterable[NDArray[np.float32]],
    box: WindowRange,
    show_true: Show,
    label: Label,
    steps: int,
    random: Random,
) -> BoxFinding:
    """Returns what a grid search over the true windows finds against a claim about one image.

    Args:
        tried: The model inputs that the mode tries for the box.
        box: The box.
        show_true: Shows a window as the service of this mode renders a request for it.
        label: Labels model inputs.
        steps: Centres, and widths, of the grid.
        random: Draws further windows.
    """
    seen = {_digest(shown): shown for shown in tried}
    labels = label(list(seen.values()))
    if len(set(labels)) != 1:
        return BoxFinding(held=False, tried=len(seen), attacked=0, contradictions=0, untried=0)
    opened = [show_true(*window) for window in true_windows(box, steps, random)]
    strange = [shown for shown in opened if _digest(shown) not in seen]
    others = sum(found != labels[0] for found in label(strange)) if strange else 0
    return BoxFinding(held=True, tried=len(seen), attacked=len(opened), contradictions=others, untried=len(strange))


def judge(mode: str, findings: Sequence[BoxFinding]) -> BoxVerdict:
    """Returns the verdict on a mode from its findings, one for each image.

    Args:
        mode: One of `BOX_MODES`.
        findings: The findings.
    """
    return BoxVerdict(
        mode=mode,
        planted=mode != BOX_MODE,
        images=len(findings),
        held=sum(finding.held for finding in findings),
        attacked=sum(finding.attacked for finding in findings),
        contradictions=sum(finding.contradictions > 0 for finding in findings),
        untried=sum(finding.untried > 0 for finding in findings),
    )


def boxes_as_markdown(verdicts: Sequence[BoxVerdict]) -> str:
    """Returns a table with one row per mode: its claims, the windows opened against them, and what was found."""
    head = ["mode", "images", "held", "windows opened", "images with another answer", "with an untried rendering"]
    rows = [
        [
            f"{verdict.mode} (wrong on purpose)" if verdict.planted else verdict.mode,
            *(
                str(n)
                for n in (verdict.images, verdict.held, verdict.attacked, verdict.contradictions, verdict.untried)
            ),
        ]
        for verdict in verdicts
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]) + "\n"


def _digest(shown: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(shown.tobytes()).digest()
