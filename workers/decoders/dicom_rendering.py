"""Rendering steps and unit of the monochrome values of a DICOM object, from its header."""

from typing import Final, cast

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from certrad.models.errors import Rejected
from certrad.models.types.image import ImageWarning, Unit
from certrad.workers.decoders.grayscale import FullRange, Invert, Rescale, Step, Table, Window, full_range
from certrad.workers.decoders.lookup_tables import read_table, uses_fewer_bits

_NEARLY_SQUARE: Final = 1.1  # people differ by more


def monochrome_steps(dataset: Dataset, number: int, *, bits: int, signed: bool, inverted: bool) -> tuple[Step, ...]:
    """Returns the rendering steps of a frame: modality, VOI or full range, inversion.

    Args:
        dataset: The header.
        number: The frame, from 1.
        bits: Bits stored for one value.
        signed: Whether stored values are signed.
        inverted: Whether the photometric interpretation is MONOCHROME1.

    Returns:
        The steps, in the order in which they are applied.

    Raises:
        Rejected: `unsupported_pixels`, the header does not define exactly one rendering.
    """
    shape = dataset.get("PresentationLUTShape") or None
    if shape is not None and shape != ("INVERSE" if inverted else "IDENTITY"):
        # Viewers disagree about which of the two decides, so there is no one image to speak of.
        raise Rejected("unsupported_pixels", "photometric interpretation and presentation LUT shape must agree")
    modality = _modality(_macro(dataset, number, "PixelValueTransformationSequence"), signed=signed)
    stored = full_range(bits, signed=signed, modality=None)
    negative = _may_be_negative(modality, stored, ct=dataset.get("Modality") == "CT")
    voi = _voi(_macro(dataset, number, "FrameVOILUTSequence"), signed_input=negative)
    return (
        *(() if modality is None else (modality,)),
        full_range(bits, signed=signed, modality=modality) if voi is None else voi,
        *((Invert(),) if inverted else ()),
    )


def unit_of(dataset: Dataset, number: int, steps: tuple[Step, ...]) -> tuple[Unit, float]:
    """Returns the unit in which a user reads the values, and how many units one stored value is.

    A CT image without Rescale Type is in Hounsfield units (PS3.3 C.8.2.1: the type must be given if it is another).

    Args:
        dataset: The header.
        number: The frame, from 1.
        steps: The rendering steps of the frame.

    Returns:
        The unit, and the units per stored value.
    """
    match steps[0]:
        case Rescale(slope=of_one):
            transformation = _macro(dataset, number, "PixelValueTransformationSequence")
            rescaled_to = transformation.get("RescaleType") or ("HU" if dataset.get("Modality") == "CT" else None)
            if rescaled_to == "HU":
                return "HU", abs(of_one)
    return "stored value", 1.0


def warnings_of(steps: tuple[Step, ...]) -> tuple[ImageWarning, ...]:
    """Returns the warnings for a user about these steps.

    Args:
        steps: The rendering steps of a frame.
    """
    reduced = any(isinstance(step, Table) and step.kind == "voi_lut" and uses_fewer_bits(step) for step in steps)
    return ("voi_lut_reduced",) if reduced else ()


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


def _voi(dataset: Dataset, *, signed_input: bool) -> Table | Window | None:
    if tables := dataset.get("VOILUTSequence"):
        return read_table("voi_lut", tables[0], signed_input=signed_input)
    centres, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    if not centres and not widths:
        return None
    if len(centres) != len(widths):
        raise Rejected(
            "unsupported_pixels",
            f"Window Center and Window Width must have the same number of values, got {len(centres)} and {len(widths)}",
        )
    return Window(str(dataset.get("VOILUTFunction") or "LINEAR"), centres[0], widths[0])


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Returns the values of an element, none where it is absent or empty; rejects one blank among several."""
    value = dataset.get(keyword)
    values = list(value) if isinstance(value, MultiValue) else [value]
    given = [each for each in values if each not in (None, "")]
    if len(given) not in (0, len(values)):
        raise Rejected("unsupported_pixels", f"{keyword} has a blank value among others")
    return [float(each) for each in given]


def _may_be_negative(modality: Rescale | Table | None, stored: FullRange, *, ct: bool) -> bool:
    """Returns whether values after the modality step are signed: never after a table, always after a CT rescale."""
    match modality:
        case Table():
            return False
        case Rescale():
            ends = (stored.low * modality.slope, stored.high * modality.slope)
            return ct or min(ends) + modality.intercept < 0
        case None:
            return stored.low < 0
