"""The attributes that rules look at, read from a DICOM file in the sandbox."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from certrad.models.errors import Rejected
from certrad.workers.contract.rules import Header
from certrad.workers.sandbox.child import run_limited

_KEYWORDS: Final = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "station": "StationName",
    "series_description": "SeriesDescription",
}
_MEMORY_BYTES: Final = 1 << 30
_CPU_SECONDS: Final = 20


def read_element_texts(content: bytes, keywords: Sequence[str], *, hidden: Path) -> dict[str, str]:
    """Returns elements of a DICOM file as text, by keyword; empty where the file has none.

    Args:
        content: The file.
        keywords: The elements.
        hidden: The folder of which the sandbox opens nothing.

    Raises:
        Rejected: unreadable_image, unsupported_format.
    """
    answer = run_limited(
        lambda: (_texts(content, keywords), b""),
        memory_bytes=_MEMORY_BYTES,
        cpu_seconds=_CPU_SECONDS,
        max_payload=0,
        hidden=hidden,
    )
    try:
        return {keyword: str(answer.header[keyword]) for keyword in keywords}
    except KeyError:
        raise Rejected("unreadable_image", "the reader crashed on this file") from None


def read_header(content: bytes, *, hidden: Path) -> Header:
    """Returns the attributes of a DICOM file.

    Args:
        content: The file.
        hidden: The folder of which the sandbox opens nothing.

    Raises:
        Rejected: unreadable_image, unsupported_format.
    """
    texts = read_element_texts(content, list(_KEYWORDS.values()), hidden=hidden)
    return Header(**{name: texts[keyword] for name, keyword in _KEYWORDS.items()})


def _texts(content: bytes, keywords: Sequence[str]) -> dict[str, Any]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    warnings.simplefilter("ignore")  # they quote values; this process ends after the answer
    try:
        data = dcmread(
            io.BytesIO(content),
            stop_before_pixels=True,
            specific_tags=["SpecificCharacterSet", *keywords],
        )
        return {keyword: str(data.get(keyword, "") or "").strip()[:1024] for keyword in keywords}
    except InvalidDicomError:
        raise Rejected("unsupported_format", "the file is no DICOM file") from None
    except Exception:  # pydicom raises many kinds for a damaged header, and their messages quote it
        raise Rejected("unreadable_image", "the header of the file cannot be read") from None
