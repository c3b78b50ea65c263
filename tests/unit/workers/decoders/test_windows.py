"""The windows of requests, tasks and headers make known pixels, in a fixed order of precedence."""

import random
from dataclasses import replace
from math import exp
from typing import Any, Final, get_args

import numpy as np
import pytest
from pydicom.dataset import Dataset

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import image_scale, is_flat, model_input
from certrad.models.images.units import radius_in_image_units
from certrad.models.types import Region
from certrad.models.types.applied_window import (
    FullRange,
    HeaderTable,
    HeaderWindow,
    PercentileRange,
    SentWindow,
    TaskWindow,
    requested_window,
)
from certrad.models.types.image import ImageRadius, NoImageRadius
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    PercentileWindow,
    PresetWindow,
    RequestedWindow,
    WindowPreset,
)
from certrad.models.types.window_lattice import WindowFunction, cell
from certrad.workers.decoders import dicom as of_dicom
from certrad.workers.decoders import raster
from certrad.workers.decoders.grayscale import Window, apply
from tests.support.images import dicom, encoded, item, noise, tiff_16

LIMIT = 1_000_000
SLICE = np.linspace(0, 2048, 24 * 24).round().astype("i2").reshape(24, 24)
HU: dict[str, Any] = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
SOFT = WindowPreset(modality="CT", name="soft_tissue", centre=50, width=400)
FILE = FileWindow(presets=(SOFT,))
SOFT_WINDOW: Final[dict[str, Any]] = {"WindowCenter": 50, "WindowWidth": 400}


def table() -> Dataset:
    entries = item(LUTDescriptor=[2, 0, 8], LUTData=[0, 255])
    entries["LUTData"].VR = "US"
    return entries


def ct(stored: Any = SLICE, window: RequestedWindow = FILE, region: Region | None = None, **elements: Any) -> Any:
    return of_dicom.decode(dicom(stored, **{**HU, **elements}), max_pixels=LIMIT, window=window, region=region)


def refusal(data: bytes, window: RequestedWindow) -> Rejected:
    decode = of_dicom.decode if data[128:132] == b"DICM" else raster_of
    with pytest.raises(Rejected) as refused:
        decode(data, max_pixels=LIMIT, window=window)
    return refused.value


def raster_of(data: bytes, *, max_pixels: int, window: RequestedWindow) -> DecodedImage:
    return raster.decode(data, "png" if data[:4] == b"\x89PNG" else "tiff", max_pixels=max_pixels, window=window)


def same_pixels(one: DecodedImage, other: DecodedImage) -> bool:
    return one.sha256 == other.sha256 and np.array_equal(one.pixels, other.pixels)


# -- the window of the request -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [FixedWindow(centre=50, width=400), PresetWindow(preset=SOFT)])
@pytest.mark.parametrize(
    "header",
    [
        {},
        {"WindowCenter": 1, "WindowWidth": 2},
        {"WindowCenter": 1},
        {"WindowCenter": 1, "WindowWidth": 0},
        {"VOILUTFunction": "SIGMOID", "WindowCenter": 1, "WindowWidth": 2},
        {"VOILUTSequence": [table()]},
    ],
)
def test_a_window_of_the_request_takes_the_place_of_whatever_the_header_has(
    window: RequestedWindow, header: dict[str, Any]
) -> None:
    decoded = ct(window=window, **header)
    assert same_pixels(decoded, ct(**SOFT_WINDOW))
    assert decoded.facts.slope == pytest.approx(1 / (cell(50, 400).width - 1))
    assert decoded.facts.warnings == ()


def test_the_window_of_the_request_is_told() -> None:
    assert ct(window=FixedWindow(centre=40, width=80)).facts.window == SentWindow(centre=40, width=80)
    named = ct(window=PresetWindow(preset=SOFT)).facts.window
    assert named == TaskWindow(modality="CT", name="soft_tissue", centre=50, width=400)


def test_the_radius_follows_the_window_that_was_applied() -> None:
    def l2(window: RequestedWindow) -> float:
        found = radius_in_image_units(0.5, image_scale(ct(window=window).facts, None, 24))
        assert isinstance(found, ImageRadius)
        assert found.unit == "HU"
        return found.l2

    narrow, wide = (l2(FixedWindow(centre=50, width=width)) for width in (101, 401))
    rendered = [cell(50, width).width - 1 for width in (101, 401)]
    assert wide == pytest.approx(narrow * rendered[1] / rendered[0], rel=1e-3)


@pytest.mark.parametrize(
    "data",
    [
        dicom(SLICE, **{**HU, "Modality": "MR"}),
        dicom(SLICE, **HU, RescaleType="US"),
        dicom(SLICE, Modality="CT"),
        encoded(noise(20, 20), "png"),
    ],
    ids=["MR", "CT in another unit", "CT without rescale", "PNG"],
)
def test_a_preset_for_other_files_is_refused(data: bytes) -> None:
    refused = refusal(data, PresetWindow(preset=SOFT))
    assert refused.code == "unknown_window"
    assert "`soft_tissue` is for DICOM images of modality CT with values in HU" in refused.detail


@pytest.mark.parametrize("window", [FixedWindow(centre=50, width=400), PercentileWindow(), PresetWindow(preset=SOFT)])
@pytest.mark.parametrize("data", [dicom(noise(20, 20, 3)), encoded(noise(20, 20, 3), "png")], ids=["DICOM", "PNG"])
def test_a_window_of_a_colour_image_is_refused(data: bytes, window: RequestedWindow) -> None:
    assert refusal(data, window).code == "unknown_window"


@pytest.mark.parametrize("function", get_args(WindowFunction))
def test_rounding_moves_a_grey_level_by_two_at_the_centre_and_by_three_elsewhere(function: WindowFunction) -> None:
    """Under LINEAR w / (w - 1) times as much: without that factor, narrow windows would be a counterexample."""
    drawn, beyond = random.Random(7), 0
    for _ in range(4_000):
        centre, width = drawn.uniform(-2_000, 2_000), exp(drawn.uniform(0.008, 8.3))
        rounded = cell(centre, width)
        linear = function == "LINEAR"
        factor = rounded.width / (rounded.width - 1) if linear else 1.0
        middle, half = (centre - 0.5, (width - 1) / 2) if linear else (centre, width / 2)
        values = middle + half * np.append(0.0, np.linspace(-1.5, 1.5, 61))
        sent, shown = (
            255 * apply(Window(function, *window), values)
            for window in ((centre, width), (rounded.centre, rounded.width))
        )
        moved = np.abs(sent - shown)
        assert moved[0] <= 2 * factor
        assert moved.max() <= 3 * factor
        beyond += moved.max() > 3
    assert (beyond > 0) == (function == "LINEAR")


@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (16, "u2")])
def test_a_grey_picture_takes_a_window_in_its_grey_levels(bits: int, dtype: str) -> None:
    stored = noise(20, 20, dtype=dtype)
    data = encoded(stored, "png") if bits == 8 else tiff_16(stored)
    decoded = raster_of(data, max_pixels=LIMIT, window=FixedWindow(centre=100.5, width=101))
    shown = cell(100.5, 101)
    by_hand = np.clip((stored - (shown.centre - 0.5)) / (shown.width - 1) + 0.5, 0, 1)
    assert np.array_equal(decoded.pixels[..., 0], by_hand)
    as_sent = np.clip((stored - 100.0) / 100 + 0.5, 0, 1)
    assert np.abs(decoded.pixels[..., 0] - as_sent).max() < 3 / 255  # at the width 101 the lattice moves none further
    assert decoded.facts.window == SentWindow(centre=100.5, width=101)
    assert decoded.facts.slope == pytest.approx(1 / (shown.width - 1))
    assert decoded.facts.transforms == ("window_linear",)
    whole = raster_of(data, max_pixels=LIMIT, window=FILE)
    assert (whole.facts.window, whole.facts.transforms, whole.facts.warnings) == (FullRange(), (), ())


# -- percentiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [1, 0.25, -3])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("region", [None, Region(x=3, y=5, w=11, h=17)])
def test_percentiles_are_of_the_rescaled_values_of_the_region(
    slope: float, photometric: str, region: Region | None
) -> None:
    stored = noise(40, 30, dtype="i2")
    decoded = ct(
        stored,
        PercentileWindow(),
        region,
        RescaleSlope=slope,
        PhotometricInterpretation=photometric,
        WindowCenter=[1, 2],
        WindowWidth=[3, 4],
    )
    part = stored if region is None else stored[5:22, 3:14]
    values = part * float(slope) - 1024
    low, high = np.percentile(values, (1, 99), method="inverted_cdf")
    shown = np.clip((values - low) / (high - low), 0, 1)
    assert np.array_equal(decoded.pixels[..., 0], 1 - shown if photometric == "MONOCHROME1" else shown)
    assert decoded.facts.window == PercentileRange(low=low, high=high)
    assert "percentile" in decoded.facts.transforms
    assert decoded.facts.warnings == ()


def test_percentiles_of_a_picture_are_of_its_grey_levels() -> None:
    stored = tiff_16(SLICE.astype("u2"))
    decoded = raster_of(stored, max_pixels=LIMIT, window=PercentileWindow())
    low, high = np.percentile(SLICE, (1, 99), method="inverted_cdf")
    assert decoded.facts.window == PercentileRange(low=low, high=high)
    assert decoded.pixels.max() == 1


def test_a_map_that_depends_on_the_image_leaves_no_radius_in_its_units() -> None:
    scale = image_scale(ct(window=PercentileWindow()).facts, None, 24)
    found = radius_in_image_units(0.5, scale)
    assert isinstance(found, NoImageRadius)
    assert "depends on the image" in found.reason
    assert isinstance(radius_in_image_units(0.5, replace(scale, depends_on_pixels=False)), ImageRadius)


def test_one_value_has_no_percentiles_to_tell_apart() -> None:
    flat = np.full((20, 20), 7, dtype="u1")
    for data in (encoded(flat, "png"), dicom(flat)):
        assert refusal(data, PercentileWindow()).code == "unknown_window"


# -- the window of the file, or of the task ----------------------------------------------------------------------------


def test_the_preset_of_the_task_takes_the_place_of_a_missing_window() -> None:
    decoded = ct()
    assert same_pixels(decoded, ct(**SOFT_WINDOW))
    assert decoded.facts.window == TaskWindow(modality="CT", name="soft_tissue", centre=50, width=400)
    assert decoded.facts.warnings == ()
    assert not is_flat(model_input(decoded, 24), decoded.pixels.shape[:2])


def test_a_window_of_the_file_goes_before_the_preset() -> None:
    elements: dict[str, Any] = {"WindowCenter": 100, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    decoded = ct(**elements)
    assert same_pixels(decoded, ct(window=FileWindow(), **elements))
    told = HeaderWindow(number=1, of=1, centre=100, width=1000, function="SIGMOID")
    assert decoded.facts.window == told


@pytest.mark.parametrize("elements", [{"Modality": "MR"}, {"RescaleType": "US"}], ids=["MR", "CT in another unit"])
def test_a_preset_for_other_files_does_not_take_the_place_of_a_window(elements: dict[str, Any]) -> None:
    decoded = ct(**elements)
    assert (decoded.facts.window, decoded.facts.warnings) == (FullRange(), ("no_window",))


@pytest.mark.parametrize("blank", [{}, {"WindowCenter": "", "WindowWidth": ""}])
def test_a_file_without_window_and_preset_is_told(blank: dict[str, Any]) -> None:
    decoded = ct(window=FileWindow(), **blank)
    assert (decoded.facts.window, decoded.facts.warnings) == (FullRange(), ("no_window",))


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        (
            {"WindowCenter": [50, -600], "WindowWidth": [400, 1500], "WindowCenterWidthExplanation": ["DOE", "JANE"]},
            HeaderWindow(number=1, of=2, centre=50, width=400, function="LINEAR"),
        ),
        (
            {"VOILUTSequence": [table()] * 2},
            HeaderTable(number=1, of=2),
        ),
        (
            {**SOFT_WINDOW, "VOILUTSequence": [table()]},
            HeaderTable(number=1, of=1),
        ),
    ],
    ids=["windows", "tables", "table and window"],
)
def test_several_windows_are_told_and_the_first_one_is_used(elements: dict[str, Any], told: object) -> None:
    decoded = ct(**elements)
    assert (decoded.facts.window, decoded.facts.warnings) == (told, ("several_windows",))
    assert "DOE" not in repr(decoded.facts)


def test_the_window_of_a_frame_is_its_own() -> None:
    frames = [item(FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=400)]) for centre in (50, 150)]
    data = dicom(np.stack([SLICE, SLICE]), **HU, PerFrameFunctionalGroupsSequence=frames)
    decoded = of_dicom.decode(data, max_pixels=LIMIT, frame=2)
    assert decoded.facts.window == HeaderWindow(number=1, of=1, centre=150, width=400, function="LINEAR")


@pytest.mark.parametrize(
    "window", [FILE, FileWindow(), FixedWindow(centre=40, width=80), PresetWindow(preset=SOFT), PercentileWindow()]
)
@pytest.mark.parametrize("header", [{}, SOFT_WINDOW, {"VOILUTSequence": [table()]}], ids=["none", "window", "table"])
def test_the_applied_window_says_how_to_see_the_same_image_again(
    window: RequestedWindow, header: dict[str, Any]
) -> None:
    decoded = ct(window=window, **header)
    again = ct(window=requested_window(decoded.facts.window), **header)
    assert same_pixels(decoded, again)
    assert again.facts.window == decoded.facts.window
