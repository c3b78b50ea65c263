"""The field `variants` of POST /certify and of a rule: lists of renderings, as a client spells them."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from certrad.models.types.variant_lists import (
    BITS_MAX,
    FRAMES_MAX,
    LISTED_MAX,
    QUALITY_MAX,
    REGION_MAX,
    SHIFT_MAX,
    BitDepths,
    HeaderWindows,
    JpegQualities,
    NamedWindows,
    NeighbourFrames,
    RegionShifts,
    Shifts,
    VariantList,
)
from certrad.models.types.window import FixedWindow, PresetWindow, WindowPreset
from certrad.models.types.window_boxes import WindowBounds, WindowBox

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
_Pair = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(gt=1, allow_inf_nan=False)]]
_Range = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]]


class _List(BaseModel):
    """One list of renderings."""

    model_config = ConfigDict(extra="forbid")


class Windows(_List):
    """Windows of a grey image."""

    kind: Literal["windows"]
    windows: Literal["header"] | Annotated[list[_Pair | _Name], Field(min_length=1, max_length=LISTED_MAX)]


class Box(_List):
    """Every window of a box: about the window in force by two numbers, or between two pairs of numbers."""

    kind: Literal["window_box"]
    centre: Annotated[float, Field(ge=0, allow_inf_nan=False)] | _Range
    width: Annotated[float, Field(ge=1, allow_inf_nan=False)] | _Range


class Shift(_List):
    """Moves of the image by whole pixels."""

    kind: Literal["shift"]
    pixels: int = Field(ge=1, le=SHIFT_MAX)


class Jpeg(_List):
    """JPEG at some qualities."""

    kind: Literal["jpeg"]
    quality: list[Annotated[int, Field(ge=1, le=QUALITY_MAX)]] = Field(min_length=1, max_length=LISTED_MAX)


class Bits(_List):
    """Some bit depths."""

    kind: Literal["bits"]
    bits: list[Annotated[int, Field(ge=1, le=BITS_MAX)]] = Field(min_length=1, max_length=LISTED_MAX)


class Frames(_List):
    """Neighbour frames."""

    kind: Literal["frames"]
    frames: int = Field(ge=1, le=FRAMES_MAX)


class MovedRegion(_List):
    """Moves of the region."""

    kind: Literal["region"]
    pixels: int = Field(ge=1, le=REGION_MAX)
    step: int = Field(1, ge=1, le=REGION_MAX)


Listed = Annotated[Windows | Box | Shift | Jpeg | Bits | Frames | MovedRegion, Field(discriminator="kind")]

VariantsField = Annotated[
    list[Listed],
    Field(min_length=1, max_length=LISTED_MAX),
    WithJsonSchema({"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": LISTED_MAX}),
]
VARIANTS_FIELD: Final[TypeAdapter[list[Listed]]] = TypeAdapter(VariantsField)


def read_list(listed: Listed, presets: tuple[WindowPreset, ...]) -> VariantList:
    """Returns a list as the workers know it.

    Args:
        listed: The list, as the client spells it.
        presets: The presets of the task.

    Raises:
        KeyError: It names a preset that the task does not have.
        ValueError: A number is out of range.
    """
    match listed:
        case Windows(windows="header"):
            return HeaderWindows()
        case Windows(windows=windows):
            named = {preset.name: preset for preset in presets}
            return NamedWindows(
                windows=tuple(
                    PresetWindow(preset=named[each])
                    if isinstance(each, str)
                    else FixedWindow(centre=each[0] + 0.0, width=each[1])  # adding 0 makes 0.0 of -0.0
                    for each in windows
                )
            )
        case Box():
            return _read_box(listed)
        case Shift(pixels=pixels):
            return Shifts(pixels=pixels)
        case Jpeg(quality=quality):
            return JpegQualities(quality=tuple(quality))
        case Bits(bits=bits):
            return BitDepths(bits=tuple(bits))
        case Frames(frames=frames):
            return NeighbourFrames(frames=frames)
        case MovedRegion(pixels=pixels, step=step):
            return RegionShifts(pixels=pixels, step=step)


def _read_box(listed: Box) -> WindowBox | WindowBounds:
    match listed.centre, listed.width:
        case (tuple() as centre, tuple() as width):
            return WindowBounds(centre=(centre[0] + 0.0, centre[1] + 0.0), width=width)
        case (float() as by, float() as factor):
            return WindowBox(centre=by + 0.0, width=factor)
        case _:
            raise ValueError("centre and width of a window_box must both be numbers, or both be pairs of numbers")
