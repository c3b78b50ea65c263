"""The work that an upload may cost is bounded, and the result warns of what the model can hardly see."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.images.model_input import fitted, model_input
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types import CertifyRequest, ClassifierSpec, Region
from certrad.models.types.applied_window import TaskWindow
from certrad.models.types.image import ImageRecord
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    PercentileWindow,
    PresetWindow,
    RequestedWindow,
    WindowPreset,
)
from certrad.workers.contract.job import INPUT
from certrad.workers.decoders.dicom import decode as decode_dicom
from certrad.workers.intake import decode, file_decoding
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


# -- what the model sees -----------------------------------------------------------------------------------------------


def seen(data: bytes, window: RequestedWindow, tmp_path: Path) -> ImageRecord:
    """The facts after the sandbox."""
    _, facts = decode.decode_limited(data, replace(REQUEST, window=window), CARD, WorkerSettings(data_dir=tmp_path))
    return facts


def ramp(low: float, high: float) -> bytes:
    return encoded(np.linspace(low * 255, high * 255, 64 * 64).round().astype("u1").reshape(64, 64), "png")


@pytest.mark.parametrize(
    ("data", "flat"),
    [
        (encoded(np.full((64, 64), 128, dtype="u1"), "png"), True),
        (ramp(0.4, 0.49), True),
        (ramp(0.4, 0.52), False),
        (encoded(np.broadcast_to(np.array([250, 0, 0], dtype="u1"), (64, 64, 3)).copy(), "png"), True),
        (encoded(noise(64, 64), "jpeg"), False),
        (dicom(np.arange(4096, dtype="u2").reshape(64, 64)), True),
        (dicom(np.arange(4096, dtype="u2").reshape(64, 64), WindowCenter=2048, WindowWidth=4096), False),
    ],
    ids=["one grey", "nine hundredths", "twelve hundredths", "one red", "noise", "12 of 16 bits", "windowed"],
)
def test_a_model_input_of_nearly_one_grey_is_told(data: bytes, flat: bool, tmp_path: Path) -> None:
    assert ("low_contrast" in seen(data, FileWindow(), tmp_path).warnings) == flat


SHAPES = [(32, 64), (64, 20), (20, 20), (8, 60), (500, 8)]


def padded(picture: NDArray[np.uint8]) -> bool:
    """Returns whether a padded picture brings the warning that it is nearly one grey."""
    header, _ = decode.decode_bytes(encoded(picture, "png"), replace(CARD, fit="pad"), max_pixels=10_000)
    return "low_contrast" in header["facts"]["warnings"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_black_that_was_padded_does_not_hide_that_the_image_is_one_grey(shape: tuple[int, int]) -> None:
    assert padded(np.full(shape, 128, dtype=np.uint8))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_of_a_padded_image_with_contrast_nothing_is_told(shape: tuple[int, int]) -> None:
    grey = np.linspace(0, 255, max(shape)).astype(np.uint8)
    assert not padded(np.broadcast_to(grey if shape[1] == max(shape) else grey[:, None], shape).copy())


def test_few_bright_pixels_do_not_hide_that_the_rest_is_one_grey(tmp_path: Path) -> None:
    picture = np.full((64, 64), 100, dtype="u1")
    picture[:3, :3] = 255
    assert seen(encoded(picture, "png"), FileWindow(), tmp_path).warnings == ("low_contrast",)


def test_a_blank_slice_is_told_and_a_preset_mends_it(tmp_path: Path) -> None:
    """A CT of 16 bits without a window spans a few grey levels of the full range."""
    stored = np.linspace(-1000, 1000, 64 * 64).round().astype("i2").reshape(64, 64)
    data = dicom(stored, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    assert seen(data, FileWindow(), tmp_path).warnings == ("low_contrast", "no_window")
    preset = shipped_tasks()["mednist"].windows
    mended = seen(data, FileWindow.of_task(preset), tmp_path)
    assert mended.warnings == ()
    assert isinstance(mended.window, TaskWindow)
    assert mended.window.preset == preset[0]


@pytest.mark.parametrize(
    "window",
    [
        FixedWindow(centre=50, width=400),
        PresetWindow(preset=WindowPreset(modality="CT", name="brain", centre=40, width=80)),
        PercentileWindow(),
        FileWindow(),
    ],
)
@pytest.mark.parametrize("region", [None, Region(x=8, y=8, w=40, h=32)])
def test_the_window_of_a_request_passes_the_sandbox(
    window: RequestedWindow, region: Region | None, tmp_path: Path
) -> None:
    stored = np.linspace(-1000, 1000, 64 * 64).round().astype("i2").reshape(64, 64)
    data = dicom(stored, Modality="CT", RescaleSlope=1, RescaleIntercept=0, WindowCenter=[1, 2], WindowWidth=[3, 4])
    expected = decode_dicom(data, max_pixels=10_000, window=window, region=region)
    request = replace(REQUEST, window=window, region=region)
    pixels, facts = decode.decode_limited(data, request, CARD, WorkerSettings(data_dir=tmp_path))
    assert (facts.window, facts.pixels_sha256) == (expected.facts.window, expected.sha256)
    assert pixels.sha256 == model_input(expected, CARD.image_size).sha256
    assert facts.scale.depends_on_pixels == isinstance(window, PercentileWindow)
    assert INPUT.validate_json(INPUT.dump_json(facts)) == facts


def test_images_of_a_tuning_are_shown_as_images_to_certify(tmp_path: Path) -> None:
    stored = np.linspace(-1000, 1000, 64 * 64).round().astype("i2").reshape(64, 64)
    data = dicom(stored, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    window = FileWindow.of_task(shipped_tasks()["mednist"].windows)
    whole = file_decoding.decode_as_uploaded(data, max_pixels=10_000, window=window)
    assert np.array_equal(whole, file_decoding.decode_published(data, window))
    assert not np.array_equal(whole, file_decoding.decode_published(data))
    pixels, _ = decode.decode_limited(data, replace(REQUEST, window=window), CARD, WorkerSettings(data_dir=tmp_path))
    assert fitted(whole, CARD.image_size).sha256 == pixels.sha256
