"""The windows of grey images that a request or a task card may name."""

import re
from collections import Counter
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MODALITY: Final = re.compile(r"[A-Z0-9_]{1,16}")
_RESERVED: Final = ("file", "percentile")
_NUMBER: Final = r"([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
_NUMBERS: Final = re.compile(f"{_NUMBER},{_NUMBER}")


def check_window(centre: float, width: float) -> None:
    """Checks the two numbers of a LINEAR window (PS3.3 C.11.2.1.2), which is a step at the width 1.

    Args:
        centre: Centre, in the image's values after the modality step.
        width: Width in the same unit, above 1.

    Raises:
        ValueError: A number is not finite, or the window is not wider than 1.
    """
    if not (isfinite(centre) and isfinite(width)):
        raise ValueError(f"centre and width of a window must be finite, got {centre!r} and {width!r}")
    if width <= 1:
        raise ValueError(f"the width of a window must be above 1, got {width!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPreset:
    """A LINEAR window of a task, for files of one modality; those for CT are in Hounsfield units.

    Attributes:
        modality: The DICOM modality of the files it is for, such as `CT`.
        name: Its name: lower-case letters, digits and underscores.
        centre: Centre, in the image's values after the modality step.
        width: Width in the same unit, above 1.
    """

    modality: str
    name: str
    centre: float
    width: float

    def __post_init__(self) -> None:
        check_window(self.centre, self.width)
        if not _MODALITY.fullmatch(self.modality):
            raise ValueError(f"modality must match {_MODALITY.pattern}, got {self.modality!r}")
        if not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise ValueError(f"name must match {_NAME.pattern} and be none of {_RESERVED}, got {self.name!r}")


def check_presets(presets: tuple[WindowPreset, ...]) -> None:
    """Checks that each name is that of one preset.

    Args:
        presets: The presets of a task.

    Raises:
        ValueError: Two have one name.
    """
    counts = Counter(preset.name for preset in presets)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"names of window presets must be distinct, got {', '.join(twice)} more than once")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWindow:
    """The window of the file; where it has none, the preset for its modality; else the range of its bits.

    Attributes:
        presets: The task's preset for each modality, fixed before the image is seen.
        kind: Tells the windows apart in JSON.
    """

    presets: tuple[WindowPreset, ...] = ()
    kind: Literal["file"] = "file"

    def __post_init__(self) -> None:
        if len({preset.modality for preset in self.presets}) != len(self.presets):
            raise ValueError("there must be one preset at most for each modality")

    @staticmethod
    def of_task(presets: tuple[WindowPreset, ...]) -> "FileWindow":
        """Returns the window `file` of a task.

        Args:
            presets: The presets of its card; the first one for a modality is used.
        """
        return FileWindow(presets=tuple({preset.modality: preset for preset in reversed(presets)}.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedWindow:
    """A LINEAR window of the sender's, in place of the file's window or VOI table.

    Attributes:
        centre: Centre, in the image's values after the modality step: HU for CT.
        width: Width in the same unit, above 1.
        kind: Tells the windows apart in JSON.
    """

    centre: float
    width: float
    kind: Literal["fixed"] = "fixed"

    def __post_init__(self) -> None:
        check_window(self.centre, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetWindow:
    """A preset of the task, by name, in place of the file's window or VOI table.

    Attributes:
        preset: The preset as it was when the request was sent.
        kind: Tells the windows apart in JSON.
    """

    preset: WindowPreset
    kind: Literal["preset"] = "preset"


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentileWindow:
    """The window from the 1st to the 99th percentile of the image's own values: then the map depends on the image.

    Attributes:
        kind: Tells the windows apart in JSON.
    """

    kind: Literal["percentile"] = "percentile"


RequestedWindow = FileWindow | FixedWindow | PresetWindow | PercentileWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedWindow:
    """One of the VOI tables and windows that a header offers; no request names it by itself.

    Attributes:
        number: Its place among them, from 1, tables first.
    """

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrounded:
    """A window that is rendered as it is, not rounded to the lattice: so were the images of old certificates.

    Attributes:
        window: The window.
    """

    window: RequestedWindow | OfferedWindow


RenderedWindow = RequestedWindow | OfferedWindow | Unrounded
"""The window that a file is rendered with: that of the request, or of one of its variants."""


def shown_window(window: RenderedWindow) -> tuple[RequestedWindow | OfferedWindow, bool]:
    """Returns the window itself, and whether it is rounded to the lattice.

    Args:
        window: The window that a file is rendered with.
    """
    return (window.window, False) if isinstance(window, Unrounded) else (window, True)


def read_window(text: str) -> RequestedWindow | str:
    """Returns the window that a text asks for, or the text itself where it can only be the name of a preset.

    Args:
        text: `file`, `percentile`, `CENTRE,WIDTH` or the name of a preset.

    Raises:
        ValueError: It is none of these.
    """
    if text == "file":
        return FileWindow()
    if text == "percentile":
        return PercentileWindow()
    if _NAME.fullmatch(text):
        return text
    numbers = _NUMBERS.fullmatch(text)
    if numbers is None:
        raise ValueError("must be `file`, `percentile`, `CENTRE,WIDTH` (two numbers) or the name of a preset")
    centre, width = (float(number) + 0.0 for number in numbers.groups())  # adding 0 makes 0.0 of -0.0
    if width <= 1:
        raise ValueError("must be a window wider than 1, at which it is a step")
    return FixedWindow(centre=centre, width=width)
