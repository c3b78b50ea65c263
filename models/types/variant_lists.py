"""Lists of variants of an image, as a request and a document state them: what stands on one follows from it.

Only the windows of a header need the file; a box of windows needs the window in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

from certrad.models.types.applied_window import AppliedWindow, HeaderTable, WindowOfHeader, requested_window
from certrad.models.types.renderings import (
    BitsVariant,
    FrameVariant,
    JpegVariant,
    Offset,
    RegionVariant,
    Rendering,
    ShiftVariant,
    WindowVariant,
)
from certrad.models.types.window import FixedWindow, PresetWindow
from certrad.models.types.window_boxes import BoxList, WindowBounds, WindowBox, box_cells, window_in_force

SHIFT_MAX: Final = 16
REGION_MAX: Final = 1024
FRAMES_MAX: Final = 64
BITS_MAX: Final = 16
QUALITY_MAX: Final = 100
LISTED_MAX: Final = 128
VARIANTS_LIMIT: Final = 2048
"""How many variants of one file an installation may allow at most."""


def _check(what: str, values: Sequence[int], most: int) -> None:
    """Refuses an empty or long list, and a number that is not in 1..most."""
    if not 1 <= len(values) <= LISTED_MAX or not all(1 <= value <= most for value in values):
        raise ValueError(f"{what} must be 1 to {LISTED_MAX} numbers in 1..{most}, got {values!r:.80}")


def _around(pixels: int, step: int) -> list[tuple[int, int]]:
    """Returns every offset (down, right) on a square grid of a step, without the one that changes nothing."""
    offsets = range(-(pixels // step) * step, pixels + 1, step)
    return [(down, right) for down, right in product(offsets, offsets) if (down, right) != (0, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderWindows:
    """Every VOI table and every window that the header offers, tables first.

    Attributes:
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    kind: Literal["header_windows/1"] = "header_windows/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWindows:
    """Windows of the sender's, and presets of the task.

    Attributes:
        windows: The windows, in order.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    windows: tuple[FixedWindow | PresetWindow, ...]
    kind: Literal["windows/1"] = "windows/1"

    def __post_init__(self) -> None:
        if not 1 <= len(self.windows) <= LISTED_MAX:
            raise ValueError(f"windows must be 1 to {LISTED_MAX}, got {len(self.windows)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """Every move of the rendered image by at most so many whole pixels along each axis.

    Attributes:
        pixels: The largest move.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    pixels: int
    kind: Literal["shifts/1"] = "shifts/1"

    def __post_init__(self) -> None:
        _check("pixels", (self.pixels,), SHIFT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegQualities:
    """The image through JPEG, at some qualities.

    Attributes:
        quality: The qualities, in order.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    quality: tuple[int, ...]
    kind: Literal["jpeg_qualities/1"] = "jpeg_qualities/1"

    def __post_init__(self) -> None:
        _check("quality", self.quality, QUALITY_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class BitDepths:
    """The image at some bit depths.

    Attributes:
        bits: The depths, in order.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    bits: tuple[int, ...]
    kind: Literal["bit_depths/1"] = "bit_depths/1"

    def __post_init__(self) -> None:
        _check("bits", self.bits, BITS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourFrames:
    """The frames before and behind the frame.

    Attributes:
        frames: How many on each side.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    frames: int
    kind: Literal["frames/1"] = "frames/1"

    def __post_init__(self) -> None:
        _check("frames", (self.frames,), FRAMES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionShifts:
    """Every move of the region, in steps, by at most so many pixels along each axis.

    Attributes:
        pixels: The largest move.
        step: Pixels of one step.
        kind: Tells the lists apart in JSON, with the version of what its fields mean.
    """

    pixels: int
    step: int = 1
    kind: Literal["region_shifts/1"] = "region_shifts/1"

    def __post_init__(self) -> None:
        _check("pixels", (self.pixels,), REGION_MAX)
        if not 1 <= self.step <= self.pixels or self.pixels // self.step > SHIFT_MAX:
            raise ValueError(f"step must be in 1..pixels, with at most {SHIFT_MAX} steps, got {self.step!r}")


StaticList = Shifts | JpegQualities | BitDepths | NeighbourFrames | RegionShifts
VariantList = HeaderWindows | NamedWindows | BoxList | StaticList


def static_renderings(listed: StaticList, encoder: str) -> list[Rendering]:
    """Returns the renderings that a list stands for, whatever the file.

    Args:
        listed: The list.
        encoder: Name and version of the encoder of JPEG.
    """
    match listed:
        case Shifts(pixels=pixels):
            return [ShiftVariant(down=Offset(down), right=Offset(right)) for down, right in _around(pixels, 1)]
        case JpegQualities(quality=qualities):
            return [JpegVariant(quality=quality, encoder=encoder) for quality in qualities]
        case BitDepths(bits=depths):
            return [BitsVariant(bits=bits) for bits in depths]
        case NeighbourFrames(frames=k):
            return [FrameVariant(offset=Offset(offset)) for offset in range(-k, k + 1) if offset]
        case RegionShifts(pixels=pixels, step=step):
            return [RegionVariant(down=Offset(down), right=Offset(right)) for down, right in _around(pixels, step)]


def fewest_renderings(listed: VariantList) -> int:
    """Returns how many renderings a list stands for at least: how many windows a header has, only the file knows.

    Args:
        listed: The list.
    """
    match listed:
        case HeaderWindows() | WindowBox():
            return 1
        case WindowBounds():
            return len(listed.range.first_cells(VARIANTS_LIMIT))
        case NamedWindows(windows=windows):
            return len(windows)
        case _:
            return len(static_renderings(listed, ""))


def check_complete(
    lists: Sequence[VariantList], renderings: Sequence[Rendering], own: AppliedWindow | None = None
) -> None:
    """Checks that renderings are all those that lists stand for, each once and in order.

    Args:
        lists: The lists.
        renderings: The renderings.
        own: The window in force, which boxes of windows are about.

    Raises:
        ValueError: One is missing, is another one, or is not in its place.
    """
    left = list(renderings)
    for listed in lists:
        expected = _expected(listed, left, own)
        if not expected or left[: len(expected)] != expected:
            raise ValueError(f"the variants of {listed.kind} are not the ones that this list stands for")
        del left[: len(expected)]
    if left:
        raise ValueError(f"{len(left)} variants are on no list")


def _expected(listed: VariantList, left: Sequence[Rendering], own: AppliedWindow | None) -> list[Rendering]:
    """Returns the renderings of a list; what only the file knows of them is taken from those that are left."""
    match listed:
        case HeaderWindows():
            return _of_header(left)
        case NamedWindows(windows=windows):
            shown = [each for each in left[: len(windows)] if isinstance(each, WindowVariant)]
            named = [requested_window(each.window) for each in shown]
            return list(left[: len(windows)]) if named == list(windows) else []
        case WindowBox() | WindowBounds():
            base = window_in_force(own)
            return [] if base is None else [*box_cells(listed, base, len(left))]
        case _:
            encoder = next((each.encoder for each in left if isinstance(each, JpegVariant)), "")
            return static_renderings(listed, encoder)


def _of_header(left: Sequence[Rendering]) -> list[Rendering]:
    """Returns the windows of a header from the first one on: each kind is complete, and numbered in order."""
    found: list[Rendering] = []
    for kind in (HeaderTable, WindowOfHeader):
        rest = left[len(found) :]
        first = rest[0].window if rest and isinstance(rest[0], WindowVariant) else None
        if isinstance(first, HeaderTable | WindowOfHeader) and isinstance(first, kind):
            every = [each.window for each in rest[: first.of] if isinstance(each, WindowVariant)]
            places = [(each.kind, each.number, each.of) for each in every if isinstance(each, type(first))]
            if places != [(first.kind, number, first.of) for number in range(1, first.of + 1)]:
                return []
            found += rest[: first.of]
    return found
