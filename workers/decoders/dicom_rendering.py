"""Rendering steps and unit of the monochrome values of a DICOM object, from its header."""

from dataclasses import dataclass
from typing import Any, Final, cast

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import Rewindow
from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    HeaderTable,
    HeaderWindow,
    UnroundedHeaderWindow,
)
from certrad.models.types.image import ImageWarning, Unit
from certrad.models.types.window import FileWindow, OfferedWindow, RenderedWindow, WindowPreset, shown_window
from certrad.workers.decoders.grayscale import (
    Integers,
    Invert,
    Rescale,
    Step,
    Table,
    ValueRange,
    Window,
    full_range,
    window_function,
)
from certrad.workers.decoders.lookup_tables import read_table, uses_fewer_bits
from certrad.workers.decoders.rewindowing import rewindowed
from certrad.workers.decoders.windows import ChosenWindow, preset_window, window_of_request, window_step

_NEARLY_SQUARE: Final = 1.1  # people differ by more


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """The way from the stored values of a monochrome frame to [0, 1].

    Attributes:
        steps: The steps, in the order in which they are applied.
        window: The window among them.
        unit: The unit in which a user reads the values.
        units_per_value: Units of one stored value.
        warnings: What a user should know.
        offered: VOI tables and windows that the header offers.
        rewindow: Shows the same values in another window; None where the header names none.
    """

    steps: tuple[Step, ...]
    window: AppliedWindow
    unit: Unit
    units_per_value: float
    warnings: tuple[ImageWarning, ...]
    offered: int
    rewindow: Rewindow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """The stored values of a monochrome frame, and how they are stored.

    Attributes:
        values: The values of the frame and region.
        number: The frame, from 1.
        bits: Bits stored for one value.
        signed: Whether stored values are signed.
        inverted: Whether the photometric interpretation is MONOCHROME1.
    """

    values: Integers
    number: int
    bits: int
    signed: bool
    inverted: bool


def monochrome_rendering(dataset: Dataset, frame: StoredFrame, window: RenderedWindow) -> Rendering:
    """Returns the rendering of a monochrome frame: modality, window or table or full range, inversion.

    Args:
        dataset: The header.
        frame: The stored values.
        window: The window of the request.

    Raises:
        Rejected: `unsupported_pixels`, the header does not define exactly one rendering; `unknown_window`, the window
            of the request does not fit the image.
    """
    shape = dataset.get("PresentationLUTShape") or None
    if shape is not None and shape != ("INVERSE" if frame.inverted else "IDENTITY"):
        # Viewers disagree about which of the two decides, so there is no one image to speak of.
        raise Rejected("unsupported_pixels", "photometric interpretation and presentation LUT shape must agree")
    modality = _modality(_macro(dataset, frame.number, "PixelValueTransformationSequence"), signed=frame.signed)
    before = () if modality is None else (modality,)
    unit, units_per_value = _unit(dataset, frame.number, modality)

    def fits(preset: WindowPreset) -> bool:
        return preset.modality == dataset.get("Modality") and (preset.modality != "CT" or unit == "HU")

    voi = _macro(dataset, frame.number, "FrameVOILUTSequence")
    warnings: tuple[ImageWarning, ...] = ()
    stored = full_range(frame.bits, signed=frame.signed, modality=None)
    negative = _may_be_negative(modality, stored, ct=dataset.get("Modality") == "CT")
    shown, rounded = shown_window(window)
    match shown:
        case FileWindow(presets=presets):
            first = _of_header(voi, 1, signed_input=negative, rounded=rounded)
            if first is None and (fitting := [each for each in presets if fits(each)]):
                first = preset_window(fitting[0], rounded=rounded)
            chosen, warnings = _of_file(first, frame, modality, _offered(voi))
        case OfferedWindow(number=number):
            named = _of_header(voi, number, signed_input=negative, rounded=rounded)
            if named is None:
                raise Rejected("variant_unavailable", "the header of the file offers no window")
            chosen = named
        case _:
            chosen = window_of_request(shown, frame.values, before, fits, rounded=rounded)
    after = (Invert(),) if frame.inverted else ()
    return Rendering(
        steps=(*before, chosen.step, *after),
        window=chosen.applied,
        unit=unit,
        units_per_value=units_per_value,
        warnings=warnings,
        offered=_offered(voi),
        rewindow=rewindowed(frame.values, before, after) if isinstance(chosen.step, Window) else None,
    )


def _of_file(
    first: ChosenWindow | None,
    frame: StoredFrame,
    modality: Rescale | Table | None,
    offered: int,
) -> tuple[ChosenWindow, tuple[ImageWarning, ...]]:
    """Returns the first table or window of the header or the preset, else the full range; and what to warn of."""
    if first is not None:
        reduced = isinstance(first.step, Table) and uses_fewer_bits(first.step)
        warnings: list[ImageWarning] = ["several_windows"] if offered > 1 else []
        return first, (*warnings, "voi_lut_reduced") if reduced else tuple(warnings)
    whole = full_range(frame.bits, signed=frame.signed, modality=modality)
    return ChosenWindow(whole, FullRange()), ("no_window",)


def _unit(dataset: Dataset, number: int, modality: Rescale | Table | None) -> tuple[Unit, float]:
    """Returns the unit in which a user reads the values, and how many units one stored value is.

    A CT image without Rescale Type is in Hounsfield units (PS3.3 C.8.2.1: the type must be given if it is another).
    """
    match modality:
        case Rescale(slope=of_one):
            transformation = _macro(dataset, number, "PixelValueTransformationSequence")
            rescaled_to = transformation.get("RescaleType") or ("HU" if dataset.get("Modality") == "CT" else None)
            if rescaled_to == "HU":
                return "HU", abs(of_one)
    return "stored value", 1.0


def check_pixel_shape(dataset: Dataset, number: int) -> None:
    """Checks that the pixels of a frame are nearly square, by their ratio or by their spacing.

    Viewers stretch an image whose pixels are not; the model would see another shape than its user.

    Args:
        dataset: The header.
        number: The frame, from 1.

    Raises:
        Rejected: `unsupported_pixels`, the pixels are not nearly square.
    """
    measures = _macro(dataset, number, "PixelMeasuresSequence")
    for source, keyword in ((dataset, "PixelAspectRatio"), (measures, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        down, across = (*_numbers(source, keyword), 0.0, 0.0)[:2]
        if down > 0 and across > 0 and not 1 / _NEARLY_SQUARE <= down / across <= _NEARLY_SQUARE:
            raise Rejected(
                "unsupported_pixels",
                f"{keyword} says that pixels are {down:g} x {across:g}: resample the image to square pixels",
            )


def _macro(dataset: Dataset, number: int, keyword: str) -> Dataset:
    """Returns where a frame keeps some elements: its own functional group, the shared one, or the whole data set."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        if (items := dataset.get(groups)) and (macro := items[index].get(keyword)):
            return cast("Dataset", macro[0])
    return dataset


def _modality(dataset: Dataset, *, signed: bool) -> Rescale | Table | None:
    if tables := dataset.get("ModalityLUTSequence"):
        return read_table("modality_lut", tables[0], signed_input=signed)
    slope, intercept = _numbers(dataset, "RescaleSlope"), _numbers(dataset, "RescaleIntercept")
    if not slope and not intercept and not ("RescaleSlope" in dataset or "RescaleIntercept" in dataset):
        return None
    if len(slope) != 1 or len(intercept) != 1:
        raise Rejected(
            "unsupported_pixels",
            "Rescale Slope and Rescale Intercept must both have a value, or both be absent",
        )
    return Rescale(slope[0], intercept[0])


def _offered(dataset: Dataset) -> int:
    """Returns how many VOI tables and windows there are."""
    return len(dataset.get("VOILUTSequence") or ()) + len(_nonblank_values(dataset, "WindowCenter"))


def _of_header(dataset: Dataset, number: int, *, signed_input: bool, rounded: bool) -> ChosenWindow | None:
    """Returns the VOI table or window of a number, from 1, tables first; None without such a one."""
    tables = dataset.get("VOILUTSequence") or ()
    if number <= len(tables):
        table = read_table("voi_lut", tables[number - 1], signed_input=signed_input)
        return ChosenWindow(table, HeaderTable(number=number, of=len(tables)))
    place = number - len(tables) - 1
    centres, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    if not centres and not widths:
        return None
    if len(centres) != len(widths):
        raise Rejected(
            "unsupported_pixels",
            f"Window Center and Window Width must have the same number of values, got {len(centres)} and {len(widths)}",
        )
    if place >= len(centres):
        return None
    function = window_function(str(dataset.get("VOILUTFunction") or "LINEAR"))
    centre, width = centres[place], widths[place]
    step = window_step(function, centre, width, rounded=rounded)
    named = HeaderWindow if rounded else UnroundedHeaderWindow
    applied = named(number=place + 1, of=len(centres), centre=centre, width=width, function=function)
    return ChosenWindow(step, applied)


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Returns the values of an element, none where it is absent or empty; rejects one blank among several."""
    values = _nonblank_values(dataset, keyword)
    value = dataset.get(keyword)
    if values and len(values) != (len(value) if isinstance(value, MultiValue) else 1):
        raise Rejected("unsupported_pixels", f"{keyword} has a blank value among others")
    return [float(each) for each in values]


def _nonblank_values(dataset: Dataset, keyword: str) -> list[Any]:
    """Returns the values of an element that are not blank."""
    value = dataset.get(keyword)
    values = list(value) if isinstance(value, MultiValue) else [value]
    return [each for each in values if each not in (None, "")]


def _may_be_negative(modality: Rescale | Table | None, stored: ValueRange, *, ct: bool) -> bool:
    """Returns whether values after the modality step are signed: never after a table, always after a CT rescale."""
    match modality:
        case Table():
            return False
        case Rescale():
            ends = (stored.low * modality.slope, stored.high * modality.slope)
            return ct or min(ends) + modality.intercept < 0
        case None:
            return stored.low < 0
