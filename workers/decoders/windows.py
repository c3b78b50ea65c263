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
    UnroundedSentWindow,
    UnroundedTaskWindow,
)
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    OfferedWindow,
    PercentileWindow,
    PresetWindow,
    RenderedWindow,
    WindowPreset,
    shown_window,
)
from certrad.models.types.window_lattice import WindowFunction, rendered_cell
from certrad.workers.decoders.grayscale import Integers, Step, Table, ValueRange, Window, full_range, render

_FUNCTION: Final = "LINEAR"
_BYTE: Final = 8


@dataclass(frozen=True, slots=True)
class ChosenWindow:
    """A window that was chosen for an image.

    Attributes:
        step: What it does to the values after the modality step.
        applied: How results state it.
    """

    step: Table | Window | ValueRange
    applied: AppliedWindow

    def may_move(self, bits: int) -> bool:
        """Returns whether a box of windows of a PNG, JPEG or TIFF image means something.

        Args:
            bits: Bits stored for one value.
        """
        return isinstance(self.step, Window) or (isinstance(self.applied, FullRange) and bits == _BYTE)


def window_step(function: WindowFunction, centre: float, width: float, *, rounded: bool) -> Window:
    """Returns the step of a window, rounded to the lattice of windows.

    Args:
        function: Its function.
        centre: Its centre.
        width: Its width.
        rounded: Whether it is rounded; windows of documents from before the lattice are not.

    Raises:
        Rejected: `unsupported_pixels`, the window is a step, or the lattice has none like it.
    """
    step = Window(function, centre, width)
    if not rounded:
        return step
    try:
        found = rendered_cell(function, centre, width)
    except ValueError as refusal:
        raise Rejected("unsupported_pixels", str(refusal)) from refusal
    return Window(function, found.centre, found.width)


def window_of_request(
    window: FixedWindow | PresetWindow | PercentileWindow,
    stored: Integers,
    before: Sequence[Step],
    fits: Callable[[WindowPreset], bool],
    *,
    rounded: bool = True,
) -> ChosenWindow:
    """Returns the window that a request names in place of the file's.

    Args:
        window: The window of the request.
        stored: The stored values of the frame and region.
        before: The steps before the window.
        fits: Whether a preset is for images of this kind.
        rounded: Whether the window is rounded to the lattice. The range of percentiles never is.

    Raises:
        Rejected: `unknown_window`, the window does not fit the image; `unsupported_pixels`, it is a step.
    """
    match window:
        case FixedWindow():
            centre, width = float(window.centre), float(window.width)
            step = window_step(_FUNCTION, centre, width, rounded=rounded)
            return ChosenWindow(step, (SentWindow if rounded else UnroundedSentWindow)(centre=centre, width=width))
        case PresetWindow(preset=preset):
            if not fits(preset):
                kind = f"{preset.modality}{' with values in HU' if preset.modality == 'CT' else ''}"
                raise Rejected(
                    "unknown_window", f"the preset `{preset.name}` is for DICOM images of modality {kind}, got another"
                )
            return preset_window(preset, rounded=rounded)
        case PercentileWindow():
            low, high = (_percentile(stored, before, percent) for percent in (LOW_PERCENT, HIGH_PERCENT))
            if low == high:
                raise Rejected(
                    "unknown_window", "1st and 99th percentile of the pixels are equal: there is no range to show"
                )
            return ChosenWindow(ValueRange(low, high, "percentile"), PercentileRange(low=low, high=high))


def preset_window(preset: WindowPreset, *, rounded: bool = True) -> ChosenWindow:
    """Returns the window of a preset.

    Args:
        preset: The preset.
        rounded: Whether it is rounded to the lattice.

    Raises:
        Rejected: `unsupported_pixels`, it is a step after it was rounded.
    """
    centre, width = float(preset.centre), float(preset.width)
    step = window_step(_FUNCTION, centre, width, rounded=rounded)
    named = TaskWindow if rounded else UnroundedTaskWindow
    return ChosenWindow(step, named(modality=preset.modality, name=preset.name, centre=centre, width=width))


def raster_window(window: RenderedWindow, stored: Integers, bits: int) -> ChosenWindow:
    """Returns the window of a PNG, JPEG or TIFF image, which has none of its own.

    Args:
        window: The window of the request.
        stored: The stored values, (height, width) or (height, width, 3).
        bits: Bits stored for one value.

    Raises:
        Rejected: `unknown_window`, the window does not fit the image; `variant_unavailable`, it has no header.
    """
    shown, rounded = shown_window(window)
    if isinstance(shown, FileWindow):
        return ChosenWindow(full_range(bits, signed=False, modality=None), FullRange())
    if isinstance(shown, OfferedWindow):
        raise Rejected("variant_unavailable", "only the header of a DICOM file offers windows")
    if stored.ndim == 3:
        raise window_for_colour_refusal()
    return window_of_request(shown, stored, (), lambda _preset: False, rounded=rounded)


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
