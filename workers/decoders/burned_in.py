"""Detects images that may have text burned into their pixels, which can name the patient."""

from typing import Final

from pydicom.dataset import Dataset

_OFTEN_WITH_TEXT: Final = frozenset({"US", "SC", "OT"})
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"  # the class, and the multi-frame classes below it


def states_burned_in_annotation(header: Dataset) -> bool:
    """Returns whether a header says that text is in the pixels: all but an empty value and `NO` do, in any letters.

    Args:
        header: The header of the image.
    """
    return _value(header, "BurnedInAnnotation") not in ("", "NO")


def may_have_burned_in_annotation(header: Dataset) -> bool:
    """Returns whether the pixels of an image may show text.

    Ultrasound devices and secondary captures often draw a name or a date, and rarely say so. A header that says `NO` is
    therefore not believed for them.

    Args:
        header: The header of the image.
    """
    if states_burned_in_annotation(header) or _value(header, "Modality") in _OFTEN_WITH_TEXT:
        return True
    sop_class = _value(header, "SOPClassUID")
    return sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")


def _value(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip(" \0").upper()
