"""Reads what a report copies from the header of the image that it is about: identifiers and demographics, no pixels.

Only the elements named here are parsed. Their text is decoded, so that reports can be written in UTF-8 whatever the
character set of the image. Values that DICOM does not allow in a date, a time or a code are left empty.
"""

import re
from datetime import date
from typing import Any, Final

from pydicom import config
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.multival import MultiValue

from certrad.models.errors import Rejected
from certrad.workers.decoders.bounded_reader import bounded_reader
from certrad.workers.decoders.burned_in import states_burned_in_annotation
from certrad.workers.decoders.transfer_syntaxes import TRANSFER_SYNTAXES
from certrad.workers.reports.silence import silenced

CHARACTER_SET: Final = "ISO_IR 192"
"""UTF-8, in which every report is written."""

PATIENT_AND_STUDY: Final = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""What DICOM reports copy from the image."""

_PREFIX: Final = slice(128, 132)
_META_START: Final = 132
_META_GROUP: Final = 0x0002
_FIRST_PIXEL_GROUP: Final = 0x7FE0
_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_EMPTY_IF_ABSENT: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_OPTIONAL: Final = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "BodyPartExamined",
    "Laterality",
    "InstanceNumber",
    "NumberOfFrames",
    "StationName",
    "TimezoneOffsetFromUTC",
)
_COPIED: Final = (*_UIDS, *_EMPTY_IF_ABSENT, *_OPTIONAL)
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_PATTERNS: Final = {
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DA": re.compile(r"[0-9]{8}"),
    "IS": re.compile(r"[+-]?[0-9]{1,10}"),
    "TM": re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?"),
}
_MULTIPLE: Final = ("DeidentificationMethod",)
_SEXES: Final = ("M", "F", "O")
_OFFSET: Final = re.compile(r"[+-](0[0-9]|1[0-4])[0-5][0-9]")
_CONTROL: Final = dict.fromkeys([*range(32), 127])
_IMAGES_BY_ANOTHER_NAME: Final = {"1.2.840.10008.5.1.4.1.1.6.2"}  # Enhanced US Volume Storage
_MAX_UID: Final = 64
_NO_METHOD: Final = "Not stated in the source image"


class SourceError(ValueError):
    """No report can be made about this file; the message has no value of its header."""


def read_source(data: bytes) -> Dataset:
    """Returns the header of an image as reports need it; runs in the sandbox.

    The data set has the four UIDs of the image, the patient and the study, all of them text in Unicode; elements that
    every DICOM object must have are present, empty where the image has no usable value.

    Args:
        data: The DICOM file.

    Raises:
        SourceError: The file is no DICOM image that a report can refer to.
    """
    try:
        with silenced():
            return _source(_header(data))
    except (SourceError, MemoryError):
        raise
    except Rejected as refusal:
        raise SourceError("the file has too many elements before its pixels") from refusal
    except Exception:  # malformed files raise nearly anything, with values in the message
        raise SourceError("the DICOM file is truncated or corrupt") from None


def _header(data: bytes) -> Dataset:
    """Returns the elements that reports use, as they are in the file.

    Raises:
        SourceError: The file is no DICOM file, or has another transfer syntax than images that are certified.
    """
    if data[_PREFIX] != b"DICM":
        raise SourceError("the file is not a DICOM file")
    with bounded_reader(data[_META_START:]) as file:
        meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != _META_GROUP)
    # Before the data set: pydicom inflates a deflated one whole, even if it is to stop before the pixels.
    if str(meta.get("TransferSyntaxUID", "")) not in TRANSFER_SYNTAXES:
        raise SourceError("the transfer syntax of the file is deflated, referenced or unknown")
    tags = [_tag(keyword) for keyword in ("SpecificCharacterSet", "BurnedInAnnotation", *_COPIED)]
    with bounded_reader(data) as file:
        return read_partial(
            file,
            stop_when=lambda tag, _vr, _length: tag >> 16 >= _FIRST_PIXEL_GROUP,
            specific_tags=tags,
        )


def _source(header: Dataset) -> Dataset:
    source = Dataset()
    source.SpecificCharacterSet = CHARACTER_SET
    for keyword in _UIDS:
        _put(source, keyword, _uid(header, keyword))
    _check_class(str(source.SOPClassUID))
    for keyword in _EMPTY_IF_ABSENT:
        _put(source, keyword, _text(header, keyword))
    for keyword in _OPTIONAL:
        if text := _text(header, keyword):
            _put(source, keyword, text)
    if _states_burned_in_annotation(header):
        _put(source, "BurnedInAnnotation", "YES")
    if source.PatientSex not in _SEXES:
        _put(source, "PatientSex", "")
    if not source.get("Modality"):
        _put(source, "Modality", "OT")
    if not _OFFSET.fullmatch(source.get("TimezoneOffsetFromUTC", "+0000")):
        del source.TimezoneOffsetFromUTC
    if source.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in source:
        _put(source, "DeidentificationMethod", _NO_METHOD)  # must be there if the identity was removed
    return source


def _states_burned_in_annotation(header: Dataset) -> bool:
    try:
        return states_burned_in_annotation(header)
    except Exception:  # malformed values raise nearly anything; one that cannot be read is not believed
        return True


def _uid(header: Dataset, keyword: str) -> str:
    """Returns a UID of the image.

    Raises:
        SourceError: It is missing or malformed.
    """
    uid = str(header.get(keyword) or "").rstrip("\0 ")
    if len(uid) > _MAX_UID or not _UID.fullmatch(uid):
        raise SourceError(f"{keyword} of the file is missing or malformed")
    return uid


def _check_class(sop_class: str) -> None:
    """Refuses objects that are not images; an unknown class may be one.

    Raises:
        SourceError: It is such an object.
    """
    name = UID_dictionary.get(sop_class, ("Image",))[0]
    if "Image" not in name and sop_class not in _IMAGES_BY_ANOTHER_NAME:
        raise SourceError("the DICOM object is not an image")


def _text(header: Dataset, keyword: str) -> str:
    """Returns an element as one text, empty where it is absent, unreadable or not as its representation demands."""
    try:
        value: Any = header.get(keyword)
    except Exception:  # malformed values raise nearly anything
        return ""
    if value is None:
        return ""
    values = value if isinstance(value, MultiValue) else [value]
    separator = "\\" if keyword in _MULTIPLE else " "
    text = separator.join(str(each).strip() for each in values).translate(_CONTROL).strip()
    representation = dictionary_VR(_tag(keyword))
    if representation == "DA":
        text = text.replace(".", "") if len(text) == len("2026.01.31") else text  # as in ACR-NEMA
    pattern = _PATTERNS.get(representation)
    if pattern is not None and not pattern.fullmatch(text):
        return ""
    return "" if representation == "DA" and not _is_date(text) else text


def _is_date(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _put(source: Dataset, keyword: str, text: str) -> None:
    """Sets an element without a check, which would quote the value in a warning."""
    tag = _tag(keyword)
    source.add(DataElement(tag, dictionary_VR(tag), text, validation_mode=config.IGNORE))


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag
