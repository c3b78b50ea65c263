"""The DICOM files that pydicom and pydicom-data bring along, and what decoding each of them ends in."""

import json
from functools import cache
from pathlib import Path
from typing import Final

import pydicom

OUTCOMES: Final[dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "data" / "dicom_sample_outcomes.json").read_text()
)
"""Name of a file -> `ok` with its warnings, or the code of its refusal."""


@cache
def samples() -> dict[str, Path]:
    """Every file that ends in .dcm or has a DICOM prefix, by its name; of files of one name, the first."""
    import data_store  # the module of pydicom-data

    found: dict[str, Path] = {}
    for root in (Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent):
        for path in sorted(root.rglob("*")):
            if path.is_file() and (path.suffix == ".dcm" or path.read_bytes()[128:132] == b"DICM"):
                found.setdefault(path.name, path)
    return found


WITHOUT_UIDS: Final = frozenset(
    {
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "bad_sequence.dcm",
    }
)
"""Images that are decoded but lack a UID, so that no report can refer to them."""
