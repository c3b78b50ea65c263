"""The window that was applied to an image, as results and documents state it.

A window is stated as header, request or task have it, and as it was rendered: rounded to the lattice of windows.
Documents from before the lattice have the kinds of version 1, whose windows were rendered as they are.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    PercentileWindow,
    PresetWindow,
    RequestedWindow,
    WindowPreset,
    check_window,
)
from certrad.models.types.window_lattice import WindowFunction, rendered_cell

LOW_PERCENT: Final = 1.0
HIGH_PERCENT: Final = 99.0
PERCENTILE_METHOD: Final = "inverted_cdf"
"""A percentile is the smallest value that at least this share of the values does not exceed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfHeader:
    """The place of a window or table among those of the header.

    Attributes:
        number: Which one it is, from 1.
        of: How many windows, or tables, the header has.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(f"number must be in 1..{self.of}, got {self.number!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOfHeader(_OfHeader):
    """A window of the file's header.

    Attributes:
        centre: Centre, in the image's values after the modality step.
        width: Width in the same unit.
        function: Its function (PS3.3 C.11.2.1.2 and C.11.2.1.3).
    """

    centre: float
    width: float
    function: WindowFunction

    def __post_init__(self) -> None:
        _OfHeader.__post_init__(self)
        if not (isfinite(self.centre) and isfinite(self.width) and self.width > 0):
            raise ValueError("centre and width must be finite, and the width above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderWindow(WindowOfHeader):
    """A window of the file's header, and the window of the lattice that it was rounded to.

    Attributes:
        rendered_centre: Centre that was rendered; left out, it is computed.
        rendered_width: Width that was rendered; left out, it is computed.
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    rendered_centre: float = 0.0
    rendered_width: float = 0.0
    kind: Literal["header/2"] = "header/2"

    def __post_init__(self) -> None:
        WindowOfHeader.__post_init__(self)
        _round(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnroundedHeaderWindow(WindowOfHeader):
    """A window of the file's header, rendered as it is, before windows were rounded to a lattice.

    Attributes:
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    kind: Literal["header/1"] = "header/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderTable(_OfHeader):
    """A VOI lookup table of the file's header.

    Attributes:
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    kind: Literal["header_table/1"] = "header_table/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOfRequest:
    """A window of the request.

    Attributes:
        centre: Centre, in the image's values after the modality step.
        width: Width in the same unit.
        function: Always `LINEAR`.
    """

    centre: float
    width: float
    function: Literal["LINEAR"] = "LINEAR"

    def __post_init__(self) -> None:
        check_window(self.centre, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentWindow(WindowOfRequest):
    """A window of the request, and the window of the lattice that it was rounded to.

    Attributes:
        rendered_centre: Centre that was rendered; left out, it is computed.
        rendered_width: Width that was rendered; left out, it is computed.
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    rendered_centre: float = 0.0
    rendered_width: float = 0.0
    kind: Literal["request/2"] = "request/2"

    def __post_init__(self) -> None:
        WindowOfRequest.__post_init__(self)
        _round(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnroundedSentWindow(WindowOfRequest):
    """A window of the request, rendered as it is, before windows were rounded to a lattice.

    Attributes:
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    kind: Literal["request/1"] = "request/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOfTask:
    """A preset of the task, because the request names it or because the file has no window.

    Attributes:
        modality: The modality of the files that the preset is for, and of this one.
        name: Name of the preset.
        centre: Centre, in the image's values after the modality step.
        width: Width in the same unit.
        function: Always `LINEAR`.
    """

    modality: str
    name: str
    centre: float
    width: float
    function: Literal["LINEAR"] = "LINEAR"

    def __post_init__(self) -> None:
        _ = self.preset  # checks all of it

    @property
    def preset(self) -> WindowPreset:
        """Returns the preset."""
        return WindowPreset(modality=self.modality, name=self.name, centre=self.centre, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWindow(WindowOfTask):
    """A preset of the task, and the window of the lattice that it was rounded to.

    Attributes:
        rendered_centre: Centre that was rendered; left out, it is computed.
        rendered_width: Width that was rendered; left out, it is computed.
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    rendered_centre: float = 0.0
    rendered_width: float = 0.0
    kind: Literal["preset/2"] = "preset/2"

    def __post_init__(self) -> None:
        WindowOfTask.__post_init__(self)
        _round(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnroundedTaskWindow(WindowOfTask):
    """A preset of the task, rendered as it is, before windows were rounded to a lattice.

    Attributes:
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    kind: Literal["preset/1"] = "preset/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentileRange:
    """The range between two percentiles of the image's own values, before inversion and after `frame` and `region`.

    Attributes:
        low: The value that is shown as 0.
        high: The value that is shown as 1.
        low_percent: Always 1.
        high_percent: Always 99.
        method: Always `inverted_cdf`: a percentile is a value of the image, without interpolation.
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    low: float
    high: float
    low_percent: float = LOW_PERCENT
    high_percent: float = HIGH_PERCENT
    method: Literal["inverted_cdf"] = PERCENTILE_METHOD
    kind: Literal["percentile/1"] = "percentile/1"

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low must be below high, and both finite, got {self.low!r} and {self.high!r}")
        if (self.low_percent, self.high_percent) != (LOW_PERCENT, HIGH_PERCENT):
            raise ValueError(f"the percentiles must be {LOW_PERCENT:g} and {HIGH_PERCENT:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRange:
    """No window: the range of values that the bits can hold, as of every colour image.

    Attributes:
        kind: Tells the windows apart in JSON, with the version of what its fields mean.
    """

    kind: Literal["full_range/1"] = "full_range/1"


RoundedWindow = HeaderWindow | SentWindow | TaskWindow
"""A window that was rounded to the lattice before the image was rendered."""
UnroundedWindow = UnroundedHeaderWindow | UnroundedSentWindow | UnroundedTaskWindow
"""A window of a document from before the lattice, which is rendered as it is."""
AppliedWindow = RoundedWindow | UnroundedWindow | HeaderTable | PercentileRange | FullRange


def _round(window: RoundedWindow) -> None:
    """Sets the window that is rendered where it was left out, and refuses another one.

    Raises:
        ValueError: It is another one, or the lattice has none that is wide enough.
    """
    found = rendered_cell(window.function, window.centre, window.width)
    if (window.rendered_centre, window.rendered_width) == (0.0, 0.0):
        object.__setattr__(window, "rendered_centre", found.centre)
        object.__setattr__(window, "rendered_width", found.width)
    if (window.rendered_centre, window.rendered_width) != (found.centre, found.width):
        raise ValueError("rendered_centre and rendered_width must be what centre and width are rounded to")


def requested_window(applied: AppliedWindow | None) -> RequestedWindow:
    """Returns the window to ask for, so that the same file is shown in the same way.

    Args:
        applied: The window that was applied; None where it is not known, as in documents of schema 2, whose images were
            all shown with the window of the file.
    """
    match applied:
        case WindowOfRequest(centre=centre, width=width):
            return FixedWindow(centre=centre, width=width)
        case WindowOfTask():
            return PresetWindow(preset=applied.preset)
        case PercentileRange():
            return PercentileWindow()
        case WindowOfHeader() | HeaderTable() | FullRange() | None:
            return FileWindow()
