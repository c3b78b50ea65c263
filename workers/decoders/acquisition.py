"""Modality and scanner model of a DICOM file, for the counts of drift: names of known sets only, never free text."""

import warnings
from collections.abc import Collection
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial

from certrad.workers.contract.drift_labels import OTHER, DriftLabel
from certrad.workers.decoders.bounded_reader import bounded_reader

MODALITIES: Final = frozenset(
    {
        "BI",
        "CR",
        "CT",
        "DX",
        "ECG",
        "EPS",
        "ES",
        "GM",
        "HC",
        "IO",
        "IVOCT",
        "IVUS",
        "LS",
        "MG",
        "MR",
        "NM",
        "OAM",
        "OCT",
        "OP",
        "OPM",
        "OPT",
        "OT",
        "PT",
        "PX",
        "RF",
        "RG",
        "RTIMAGE",
        "SM",
        "TG",
        "US",
        "VA",
        "XA",
        "XC",
    }
)
"""Defined terms of PS3.3 C.7.3.1.1.1 for images; the file may say anything else, even a name."""

_KEYWORDS: Final[dict[DriftLabel, str]] = {"modality": "Modality", "scanner_model": "ManufacturerModelName"}
_LAST: Final = 0x00081090


def acquisition_labels(data: bytes, labels: Collection[str], scanner_models: Collection[str]) -> dict[DriftLabel, str]:
    """Returns the labels of a DICOM file; a label that the file does not have is left out.

    It reads nothing but the two elements, and gives up on a file that cannot be read: the decoder says why.

    Args:
        data: The file.
        labels: The labels that the operator allows.
        scanner_models: The scanner models that the operator names; any other is `other`.
    """
    allowed = {label: keyword for label, keyword in _KEYWORDS.items() if label in labels}
    if not allowed:
        return {}
    known: dict[DriftLabel, Collection[str]] = {"modality": MODALITIES, "scanner_model": scanner_models}
    tags = [tag for keyword in allowed.values() if (tag := tag_for_keyword(keyword)) is not None]
    try:
        with warnings.catch_warnings(), bounded_reader(data) as file:
            warnings.simplefilter("ignore")  # they quote values
            dataset = read_partial(file, stop_when=lambda tag, _vr, _length: tag > _LAST, specific_tags=tags)
            values = {label: str(dataset.get(keyword) or "").strip() for label, keyword in allowed.items()}
    except Exception:  # malformed files raise nearly anything, and a label is worth no refusal
        return {}
    return {label: value if value in known[label] else OTHER for label, value in values.items() if value}
