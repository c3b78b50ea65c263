"""The outcome of every DICOM file that pydicom and pydicom-data bring along; none of them crashes a decoder."""

import json
from functools import cache
from pathlib import Path
from typing import Final

import pydicom
import pytest

from certrad.models.errors import PROBLEMS, Rejected
from certrad.models.images.model_input import is_flat, model_input
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types.image import IMAGE_WARNINGS
from certrad.models.types.window import FileWindow
from certrad.workers.decoders.dicom import decode

EXPECTED: Final[dict[str, str]] = json.loads(
    (Path(__file__).parents[3] / "data" / "dicom_sample_outcomes.json").read_text()
)
SIZE: Final = shipped_backbones()["demo"].image_size
WINDOW: Final = FileWindow.of_task(shipped_tasks()["mednist"].windows)


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


def outcome(data: bytes) -> str:
    """`ok` with the warnings, or the code of the refusal; of several frames the first is taken."""
    try:
        return _decoded(data, None)
    except Rejected as refused:
        if refused.code != "frame_required":
            return refused.code
    try:
        return _decoded(data, 1)
    except Rejected as refused:
        return refused.code


def _decoded(data: bytes, frame: int | None) -> str:
    """What a request for the demonstration task gets."""
    image = decode(data, max_pixels=64_000_000, frame=frame, window=WINDOW)
    flat = ("low_contrast",) if is_flat(model_input(image, SIZE), image.pixels.shape[:2]) else ()
    return " ".join(("ok", *flat, *image.facts.warnings))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_has_its_outcome(name: str) -> None:
    assert outcome(samples()[name].read_bytes()) == EXPECTED[name]


def test_the_outcome_of_every_sample_is_known() -> None:
    assert set(samples()) == set(EXPECTED)
    refusals = {found for found in EXPECTED.values() if found.split()[0] != "ok"}
    assert refusals <= set(PROBLEMS)
    warnings = {warning for found in EXPECTED.values() if found not in refusals for warning in found.split()[1:]}
    assert warnings <= set(IMAGE_WARNINGS)
