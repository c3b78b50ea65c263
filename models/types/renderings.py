"""The names of the variants of an image: each is one deterministic rendering of its file."""

from dataclasses import dataclass
from typing import Literal, NewType

from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.window_lattice import WindowFunction, rendered_cell

Offset = NewType("Offset", int)
"""A whole number of either sign; every other integer of a document is at least 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowVariant:
    """The file in another window or VOI table.

    Attributes:
        window: The window that was applied.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    window: AppliedWindow
    kind: Literal["window/1"] = "window/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellVariant:
    """The file in a window of the lattice that windows are rounded to.

    Attributes:
        centre: Its centre.
        width: Its width.
        function: The function of the window in force.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    centre: float
    width: float
    function: WindowFunction
    kind: Literal["window_cell/1"] = "window_cell/1"

    def __post_init__(self) -> None:
        found = rendered_cell(self.function, self.centre, self.width)
        if (found.centre, found.width) != (self.centre, self.width):
            raise ValueError(f"the lattice has no window of centre {self.centre!r} and width {self.width!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftVariant:
    """The rendered image moved by whole pixels before it is resized; its edge is repeated where it has no pixel.

    Attributes:
        down: Pixels down, negative for up.
        right: Pixels to the right, negative for left.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    down: Offset
    right: Offset
    kind: Literal["shift/1"] = "shift/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegVariant:
    """The rendered image as 8 bits, through JPEG and back; the encoder's version is a part of the rendering.

    Attributes:
        quality: Quality of the encoder, 1 to 100.
        encoder: Name and version of the encoder.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    quality: int
    encoder: str
    kind: Literal["jpeg/1"] = "jpeg/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsVariant:
    """The rendered image, rounded to the grey levels of fewer bits.

    Attributes:
        bits: Bits of one value.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    bits: int
    kind: Literal["bits/1"] = "bits/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameVariant:
    """A neighbour of the frame.

    Attributes:
        offset: Its number, less that of the frame.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    offset: Offset
    kind: Literal["frame/1"] = "frame/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionVariant:
    """The region moved over the image.

    Attributes:
        down: Pixels down, negative for up.
        right: Pixels to the right, negative for left.
        kind: Tells the renderings apart in JSON, with the version of what its fields mean.
    """

    down: Offset
    right: Offset
    kind: Literal["region/1"] = "region/1"


Rendering = WindowVariant | CellVariant | ShiftVariant | JpegVariant | BitsVariant | FrameVariant | RegionVariant
