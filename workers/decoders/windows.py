"""The window of a grey image, as a rendering step and as results state it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from certrad.models.errors import Rejected
from certrad.models.types.applied_window import (
    HIGH_PERCENT,
    LOW_PERCENT,
    AppliedWindow,
    FullRange,
    PercentileRange,
    SentWindow,
    TaskWindow,
)
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    OfferedWindow,
    PercentileWindow,
    PresetWindow,
    RenderedWindow,
    WindowPreset,
)
from certrad.workers.decoders.grayscale import Integers, Step, Table, ValueRange, Window, full_range, render

_FUNCTION: Final = "LINEAR"


@dataclass(frozen=True, slots=True)
class ChosenWindow:
    """A window that was chosen for an image.

    Attributes:
        step: What it does to the values after the modality step.
        applied: How results state it.
    """

    step: Table | Window | ValueRange
    applied: AppliedWindow


def window_of_request(
    window: FixedWindow | PresetWindow | PercentileWindow,
    stored: Integers,
    before: Sequence[Step],
    fits: Callable[[WindowPreset], bool],
) -> ChosenWindow:
    """Returns the window that a request names in place of the file's.

    Args:
        window: The window of the request.
        stored: The stored values of the frame and region.
        before: The steps before the window.
        fits: Whether a preset is for images of this kind.

    Raises:
        Rejected: `unknown_window`, the window does not fit the image.
    """
    match window:
        case FixedWindow(centre=centre, width=width):
            applied = SentWindow(centre=float(centre), width=float(width))
            return ChosenWindow(Window(_FUNCTION, applied.centre, applied.width), applied)
        case PresetWindow(preset=preset):
            if not fits(preset):
                kind = f"{preset.modality}{' with values in HU' if preset.modality == 'CT' else ''}"
                raise Rejected(
                    "unknown_window", f"the preset `{preset.name}` is for DICOM images of modality {kind}, got another"
                )
            return preset_window(preset)
        case PercentileWindow():
            low, high = (_percentile(stored, before, percent) for percent in (LOW_PERCENT, HIGH_PERCENT))
            if low == high:
                raise Rejected(
                    "unknown_window", "1st and 99th percentile of the pixels are equal: there is no range to show"
                )
            return ChosenWindow(ValueRange(low, high, "percentile"), PercentileRange(low=low, high=high))


def preset_window(preset: WindowPreset) -> ChosenWindow:
    """Returns the window of a preset.

    Args:
        preset: The preset.
    """
    applied = TaskWindow(
        modality=preset.modality, name=preset.name, centre=float(preset.centre), width=float(preset.width)
    )
    return ChosenWindow(Window(_FUNCTION, applied.centre, applied.width), applied)


def raster_window(window: RenderedWindow, stored: Integers, bits: int) -> ChosenWindow:
    """Returns the window of a PNG, JPEG or TIFF image, which has none of its own.

    Args:
        window: The window of the request.
        stored: The stored values, (height, width) or (height, width, 3).
        bits: Bits stored for one value.

    Raises:
        Rejected: `unknown_window`, the window does not fit the image; `variant_unavailable`, it has no header.
    """
    if isinstance(window, FileWindow):
        return ChosenWindow(full_range(bits, signed=False, modality=None), FullRange())
    if isinstance(window, OfferedWindow):
        raise Rejected("variant_unavailable", "only the header of a DICOM file offers windows")
    if stored.ndim == 3:
        raise window_for_colour_refusal()
    return window_of_request(window, stored, (), lambda _preset: False)


def window_for_colour_refusal() -> Rejected:
    """Returns the refusal of a window for a colour image."""
    return Rejected("unknown_window", "a window is for grey images, and the image has colours")


def _percentile(stored: Integers, before: Sequence[Step], percent: float) -> float:
    """Returns the smallest value that at least `percent` of the values after some steps do not exceed."""
    levels, counts = np.unique(stored, return_counts=True)
    values = render(before, levels)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order]) * 100 >= percent * stored.size
    return float(values[order][np.argmax(reached)])
