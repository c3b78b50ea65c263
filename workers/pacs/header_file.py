"""The attributes that rules look at, read from a DICOM file in the sandbox."""

import io
import warnings
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


def read_header(content: bytes, *, hidden: Path) -> Header:
    """Returns the attributes of a DICOM file.

    Args:
        content: The file.
        hidden: The folder of which the sandbox opens nothing.

    Raises:
        Rejected: unreadable_image, unsupported_format.
    """
    answer = run_limited(
        lambda: (_attributes(content), b""),
        memory_bytes=_MEMORY_BYTES,
        cpu_seconds=_CPU_SECONDS,
        max_payload=0,
        hidden=hidden,
    )
    try:
        return Header(**{name: str(answer.header[name]) for name in _KEYWORDS})
    except KeyError:
        raise Rejected("unreadable_image", "the reader crashed on this file") from None


def _attributes(content: bytes) -> dict[str, Any]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    warnings.simplefilter("ignore")  # they quote values; this process ends after the answer
    try:
        data = dcmread(
            io.BytesIO(content),
            stop_before_pixels=True,
            specific_tags=["SpecificCharacterSet", *_KEYWORDS.values()],
        )
        return {name: str(data.get(keyword, "") or "").strip()[:1024] for name, keyword in _KEYWORDS.items()}
    except InvalidDicomError:
        raise Rejected("unsupported_format", "the file is no DICOM file") from None
    except Exception:
        raise Rejected("unreadable_image", "the header of the file cannot be read") from None
