"""Every DICOM file that pydicom and pydicom-data bring along has a known outcome, and none crashes a decoder."""

from typing import Final

import pytest

from certrad.models.errors import PROBLEMS, Rejected
from certrad.models.images.model_input import is_flat, model_input
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types.image import IMAGE_WARNINGS
from certrad.models.types.window import FileWindow
from certrad.workers.decoders.dicom import decode
from tests.support.dicom_samples import OUTCOMES, samples

SIZE: Final = shipped_backbones()["demo"].image_size
WINDOW: Final = FileWindow.of_task(shipped_tasks()["mednist"].windows)


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
    """Returns what a request for the demonstration task gets."""
    image = decode(data, max_pixels=64_000_000, frame=frame, window=WINDOW)
    flat = ("low_contrast",) if is_flat(model_input(image, SIZE), image.pixels.shape[:2]) else ()
    return " ".join(("ok", *flat, *image.facts.warnings))


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_sample_has_its_outcome(name: str) -> None:
    assert outcome(samples()[name].read_bytes()) == OUTCOMES[name]


def test_the_outcome_of_every_sample_is_known() -> None:
    assert set(samples()) == set(OUTCOMES)
    refusals = {found for found in OUTCOMES.values() if found.split()[0] != "ok"}
    assert refusals <= set(PROBLEMS)
    warnings = {warning for found in OUTCOMES.values() if found not in refusals for warning in found.split()[1:]}
    assert warnings <= set(IMAGE_WARNINGS)
