"""How much work an upload may cost."""

from pathlib import Path
from typing import Any

import pytest

from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.intake import decode
from certrad.workers.sandbox.child import run_limited
from certrad.workers.settings import WorkerSettings
from tests.support.codestreams import codestream, compressed, smooth
from tests.support.images import dicom, encoded, noise, tiff_16

CARD = shipped_backbones()["demo"]
REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of a {}")
)
WHOLE = 60


@pytest.mark.parametrize(
    ("size", "pixels", "seconds"), [(0, 0, 5), (898, 0, 6), (40_000_000, 0, 15), (0, 64_000_000, 37)]
)
def test_processor_seconds_are_in_proportion_to_the_file(size: int, pixels: int, seconds: int) -> None:
    assert decode.cpu_allowance(size, pixels) == seconds


@pytest.mark.parametrize(
    "data",
    [
        encoded(noise(40, 50), "png"),
        encoded(noise(40, 50), "jpeg"),
        tiff_16(noise(40, 50, dtype="u2")),
        dicom(noise(40, 50)),
        compressed("jpeg_2000", codestream("jpeg_2000", smooth(40, 50)), smooth(40, 50)),
    ],
    ids=["png", "jpeg", "tiff", "dicom", "jpeg 2000"],
)
def test_the_number_of_pixels_is_told_before_they_are_decoded(data: bytes) -> None:
    told: list[int] = []

    def tell(pixels: int) -> None:
        told.append(pixels)
        raise StopIteration

    with pytest.raises((StopIteration, Exception)):
        decode.decode_bytes(data, CARD, max_pixels=10_000, on_size=tell)
    assert told == [2_000]
    decode.decode_bytes(data, CARD, max_pixels=10_000)


def test_an_upload_begins_with_the_time_of_its_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[dict[str, Any]] = []

    def limited(function: Any, **limits: Any) -> Any:
        given.append(limits)
        return run_limited(function, **limits)

    monkeypatch.setattr(decode, "run_limited", limited)
    data = encoded(noise(40, 50), "png")
    decode.decode_limited(data, REQUEST, CARD, WorkerSettings(data_dir=tmp_path, intake_cpu_seconds=WHOLE))
    assert [(limits["first_cpu_seconds"], limits["cpu_seconds"]) for limits in given] == [(6, WHOLE)]
