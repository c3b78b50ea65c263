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

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
_Pair = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(gt=1, allow_inf_nan=False)]]


class _List(BaseModel):
    """One list of renderings."""

    model_config = ConfigDict(extra="forbid")


class Windows(_List):
    """Windows of a grey image."""

    kind: Literal["windows"]
    windows: Literal["header"] | Annotated[list[_Pair | _Name], Field(min_length=1, max_length=LISTED_MAX)]


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


Listed = Annotated[Windows | Shift | Jpeg | Bits | Frames | MovedRegion, Field(discriminator="kind")]

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
