"""How the header of a DICOM object wants its monochrome values rendered, and what unit they are in."""

from typing import Any, Literal, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from certrad.models.errors import Rejected
from certrad.models.images.units import Unit
from certrad.workers.decoders.grayscale import Invert, Rescale, Step, Table, Window, full_range


def monochrome_steps(dataset: Dataset, number: int, *, bits: int, signed: bool, inverted: bool) -> tuple[Step, ...]:
    """Modality, VOI or full range, and inversion of frame `number`, from 1; inverted: it is MONOCHROME1.

    Raises Rejected unsupported_pixels for what has no one rendering.
    """
    shape = dataset.get("PresentationLUTShape") or None
    if shape is not None and shape != ("INVERSE" if inverted else "IDENTITY"):
        # Viewers disagree about which of the two decides, so there is no one image to speak of.
        raise Rejected(
            "unsupported_pixels", "photometric interpretation and presentation LUT shape are expected to agree"
        )
    modality = _modality(_macro(dataset, number, "PixelValueTransformationSequence"))
    voi = _voi(_macro(dataset, number, "FrameVOILUTSequence"))
    return (
        *(() if modality is None else (modality,)),
        full_range(bits, signed=signed, modality=modality) if voi is None else voi,
        *((Invert(),) if inverted else ()),
    )


def unit_of(dataset: Dataset, number: int, steps: tuple[Step, ...]) -> tuple[Unit, float]:
    """The unit a user of the image reads its values in, and how many of it one stored value is.

    A CT image without Rescale Type is in Hounsfield units (PS3.3 C.8.2.1: required if it is another).
    """
    match steps[0]:
        case Rescale(slope=of_one):
            transformation = _macro(dataset, number, "PixelValueTransformationSequence")
            rescaled_to = transformation.get("RescaleType") or ("HU" if dataset.get("Modality") == "CT" else None)
            if rescaled_to == "HU":
                return "HU", abs(of_one)
    return "stored value", 1.0


def _macro(dataset: Dataset, number: int, keyword: str) -> Dataset:
    """Where a frame keeps some of its elements: its own functional group, the shared one, or the data set itself."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        if (items := dataset.get(groups)) and (macro := items[index].get(keyword)):
            return cast("Dataset", macro[0])
    return dataset


def _modality(dataset: Dataset) -> Rescale | Table | None:
    if tables := dataset.get("ModalityLUTSequence"):
        return _table("modality_lut", tables[0])
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return None
    return Rescale(float(slope), float(intercept))


def _voi(dataset: Dataset) -> Table | Window | None:
    if tables := dataset.get("VOILUTSequence"):
        return _table("voi_lut", tables[0])
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None:
        return None
    return Window(str(dataset.get("VOILUTFunction") or "LINEAR"), float(centre), float(width))


def _table(kind: Literal["modality_lut", "voi_lut"], item: Dataset) -> Table:
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, dtype="<u2" if item.original_encoding[1] else ">u2")
    values = np.atleast_1d(np.asarray(data, dtype=np.float64))
    if values.size < (entries or 1 << 16):
        raise Rejected("unsupported_pixels", "a lookup table with as many entries as it declares is expected")
    return Table(kind, first, values[: entries or 1 << 16], bits)


def _first(value: Any) -> Any:  # noqa: ANN401  # pydicom's values have many types
    return value[0] if isinstance(value, MultiValue) else value
