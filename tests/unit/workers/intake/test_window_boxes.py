"""The cells of a box of windows are rendered as a request for each of them would be, and refused where none exists."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones
from certrad.models.types.applied_window import HeaderWindow, UnroundedHeaderWindow
from certrad.models.types.renderings import CellVariant
from certrad.models.types.variant_lists import VariantList, check_complete
from certrad.models.types.window import FixedWindow, PercentileWindow
from certrad.models.types.window_boxes import WindowBounds, WindowBox
from certrad.models.types.window_lattice import cell
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings
from tests.support.images import dicom, encoded, item, noise
from tests.unit.workers.intake.test_variants import BARE, asking, decoded

VALUES: Final = noise(40, 50, dtype="i2") // 40
CT: Final[dict[str, Any]] = {
    "Modality": "CT",
    "RescaleSlope": 2,
    "RescaleIntercept": -100,
    "WindowCenter": 40,
    "WindowWidth": 400,
}
GREY: Final = encoded(noise(40, 50), "png")
BOX: Final = WindowBox(centre=20.0, width=1.1)


def cells_of(tmp_path: Path, data: bytes, *lists: VariantList, **asked: Any) -> list[CellVariant]:
    _, image = decoded(data, replace(asking(*lists), **asked), tmp_path, variants_max=1000)
    renderings = [each.rendering for each in image.variants]
    check_complete(lists, renderings, image.window)
    return [each for each in renderings if isinstance(each, CellVariant)]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_each_cell_is_rendered_as_the_header_with_that_window_is(
    photometric: str, function: str, tmp_path: Path
) -> None:
    """It covers the modality step before the window, and the inversion behind it."""
    header = {**CT, "PhotometricInterpretation": photometric, "VOILUTFunction": function}
    pixels, image = decoded(dicom(VALUES, **header), asking(BOX), tmp_path, variants_max=1000)
    assert len(image.variants) > 30
    for place in (0, 17, len(image.variants) - 1):
        rendering = image.variants[place].rendering
        assert isinstance(rendering, CellVariant)
        assert rendering.function == function
        centre, width = f"{rendering.centre:.14g}", f"{rendering.width:.14g}"  # a DS has 16 bytes
        alone = dicom(VALUES, **{**header, "WindowCenter": centre, "WindowWidth": width})
        shown, facts = decoded(alone, BARE, tmp_path)
        assert isinstance(facts.window, HeaderWindow)
        assert (facts.window.rendered_centre, facts.window.rendered_width) == (rendering.centre, rendering.width)
        assert np.array_equal(shown.pixels, pixels.variants[place].pixels)


def test_window_of_the_file_is_one_of_the_cells_and_has_its_model_input(tmp_path: Path) -> None:
    _, image = decoded(dicom(VALUES, **CT), asking(BOX), tmp_path, variants_max=1000)
    own = cell(40.0, 400.0)
    inputs = {
        (each.rendering.centre, each.rendering.width): each.input_sha256
        for each in image.variants
        if isinstance(each.rendering, CellVariant)
    }
    assert inputs[own.centre, own.width] == image.input_sha256


def test_golden_box_about_the_header_has_417_cells(tmp_path: Path) -> None:
    assert len(cells_of(tmp_path, dicom(VALUES, **CT), WindowBox(centre=37.0, width=1.28))) == 417


def test_box_between_numbers_is_that_about_the_window_in_force(tmp_path: Path) -> None:
    data = dicom(VALUES, **CT)
    relative = cells_of(tmp_path, data, WindowBox(centre=37.0, width=1.28))
    assert cells_of(tmp_path, data, WindowBounds(centre=(3.0, 77.0), width=(312.5, 512.0))) == relative


def test_box_is_about_the_window_of_the_request_where_one_is_sent(tmp_path: Path) -> None:
    sent = {"window": FixedWindow(centre=80.0, width=200.0)}
    for data in (dicom(VALUES, **CT), GREY, encoded(noise(40, 50, dtype="u2"), "png")):
        found = cells_of(tmp_path, data, WindowBox(centre=0.0, width=1.0), **sent)
        assert [(each.centre, each.width) for each in found] == [(cell(80.0, 200.0).centre, cell(80.0, 200.0).width)]
        assert found[0].function == "LINEAR"


def test_grey_levels_of_eight_bits_are_a_window_of_their_own(tmp_path: Path) -> None:
    pixels, image = decoded(GREY, asking(WindowBox(centre=26.0, width=1.28)), tmp_path, variants_max=1000)
    assert len(image.variants) == 452
    near = min(
        (each for each in image.variants if isinstance(each.rendering, CellVariant)),
        key=lambda each: (
            abs(each.rendering.centre - 127.5) + abs(each.rendering.width - 255.0)
            if isinstance(each.rendering, CellVariant)
            else 0.0
        ),
    )
    shown = pixels.variants[image.variants.index(near)].pixels
    assert 0 < np.abs(shown - pixels.pixels).max() < 3.5 / 255


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (encoded(noise(40, 50, 3), "png"), {}),
        (encoded(noise(40, 50, dtype="u2"), "png"), {}),
        (dicom(VALUES, Modality="MR"), {}),
        (dicom(VALUES, **{**CT, "VOILUTSequence": [item(LUTDescriptor=[2, 0, 8], LUTData=b"\0\xff")]}), {}),
        (dicom(VALUES, **CT), {"window": PercentileWindow()}),
        (dicom(VALUES, **{**CT, "WindowWidth": 1.09}), {}),
        (dicom(VALUES, **{**CT, "WindowWidth": 1.10001}), {}),
    ],
    ids=["colour", "16 bits", "no window", "table", "percentiles", "narrower than 1", "rounded to 1"],
)
def test_box_of_a_file_without_such_a_window_is_refused(data: bytes, asked: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        decoded(data, replace(asking(BOX), **asked), tmp_path, variants_max=1000)
    assert refused.value.code == "variant_unavailable"


@pytest.mark.parametrize("box", [WindowBox(centre=37.0, width=1.28), WindowBounds(centre=(-1e9, 1e9), width=(2, 1e9))])
def test_box_of_too_many_cells_is_refused_before_any_is_rendered(box: VariantList, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        decoded(dicom(VALUES, **CT), asking(box), tmp_path, variants_max=416)
    assert refused.value.code == "too_many_variants"


def test_window_that_is_rounded_to_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        decoded(dicom(VALUES, **CT), replace(BARE, window=FixedWindow(centre=40.0, width=1.005)), tmp_path)
    assert refused.value.code == "unsupported_pixels"


def test_two_headers_of_one_cell_have_one_image(tmp_path: Path) -> None:
    """So nobody can shop for noise among windows that look alike; a lattice anchored at the header would fail here."""
    images = [
        decoded(dicom(VALUES, **{**CT, "WindowCenter": centre, "WindowWidth": width}), BARE, tmp_path)[1]
        for centre, width in ((40.0, 400.0), (38.5, 397.5), (36.0, 399.0))
    ]
    assert len({image.pixels_sha256 for image in images}) == len({image.input_sha256 for image in images}) == 1
    assert len({image.window for image in images}) == 3


def test_certificate_from_before_the_lattice_is_rendered_as_it_was(tmp_path: Path) -> None:
    settings = WorkerSettings(data_dir=tmp_path)
    data = dicom(VALUES, **CT)
    pixels, image = decode_limited(data, BARE, shipped_backbones()["demo"], settings, rounded=False)
    assert image.window == UnroundedHeaderWindow(number=1, of=1, centre=40.0, width=400.0, function="LINEAR")
    assert image.scale.slope * 2 == pytest.approx(2 / 399)
    assert not np.array_equal(pixels.pixels, decoded(data, BARE, tmp_path)[0].pixels)
