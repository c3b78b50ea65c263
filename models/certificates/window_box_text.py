"""What a certificate says in words about boxes of windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from certrad.models.types.applied_window import AppliedWindow, FullRange
from certrad.models.types.image import ImageRadius, NoImageRadius
from certrad.models.types.variant_lists import VARIANTS_LIMIT, VariantList
from certrad.models.types.window_boxes import BoxNumbers, WindowBounds, WindowBox, box_numbers, window_in_force

_LIMITS: Final = (
    "This says that the answer does not depend on the window within this range. It does not say that the answer is "
    "right, nor that the finding is visible in such a window."
)
_RENDERED_HERE: Final = (
    "The service itself showed the grey levels of the file in these windows: an image that a viewer saved in another "
    "window is another file, and is not covered."
)
_UNITS: Final = {"HU": " HU", "grey level": " grey levels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """What boxes of windows are about: the image as the certificate shows it.

    Attributes:
        window: The window that was applied to it.
        radius: The radius on it, which names its unit where there is one.
    """

    window: AppliedWindow | None
    radius: ImageRadius | NoImageRadius

    @property
    def unit(self) -> str:
        """Returns the unit of its windows, behind a space; nothing where it has no name."""
        return _UNITS.get(self.radius.unit, "") if isinstance(self.radius, ImageRadius) else ""


def boxes_of_lists(lists: Sequence[VariantList], window: AppliedWindow | None) -> list[BoxNumbers]:
    """Returns the boxes on some lists, as numbers.

    Args:
        lists: The lists.
        window: The window that was applied to the image.

    Raises:
        ValueError: The image has no window that a box could be about.
    """
    boxes = [listed for listed in lists if isinstance(listed, WindowBox | WindowBounds)]
    base = window_in_force(window)
    if base is None:
        if boxes:
            raise ValueError("a box of windows must be about an image with a window")
        return []
    return [box_numbers(listed, base, VARIANTS_LIMIT) for listed in boxes]


def box_text(lists: Sequence[VariantList], shown: ShownImage, answer: str) -> str:
    """Returns the sentences about boxes of windows that all hold; empty without boxes.

    Args:
        lists: The lists of the certificate.
        shown: The image.
        answer: What every window of them gives.

    Raises:
        ValueError: The image has no window that a box could be about.
    """
    unit, boxes = shown.unit, boxes_of_lists(lists, shown.window)
    sentences = [
        f"Every window with a centre from {_number(box.centre[0])} to {_number(box.centre[1])}{unit} and a width from "
        f"{_number(box.width[0])} to {_number(box.width[1])}{unit} gives {answer}: all {box.cells} windows that these "
        "are rounded to were tried."
        for box in boxes
    ]
    if not boxes:
        return ""
    if isinstance(shown.window, FullRange):
        sentences.append(_RENDERED_HERE)
    return " ".join([*sentences, _LIMITS])


def _number(value: float) -> str:
    return f"{value:.10g}"
