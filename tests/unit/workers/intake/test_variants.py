"""The variants of a file are rendered in the order of the lists, and refused where the file cannot have them."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from certrad.models.errors import Rejected
from certrad.models.images.model_input import ModelInput
from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, ClassifierSpec, Region
from certrad.models.types.applied_window import HeaderTable, HeaderWindow, SentWindow
from certrad.models.types.image import ImageRecord
from certrad.models.types.renderings import FrameVariant, JpegVariant, WindowVariant
from certrad.models.types.variant_lists import (
    BitDepths,
    HeaderWindows,
    JpegQualities,
    NamedWindows,
    NeighbourFrames,
    RegionShifts,
    Shifts,
    VariantList,
    check_complete,
)
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window import FixedWindow
from certrad.workers.intake.decode import decode_limited
from certrad.workers.intake.variants import moved, through_jpeg
from certrad.workers.settings import WorkerSettings
from tests.support.images import dicom, encoded, noise

CARD = shipped_backbones()["demo"]
BARE = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of a {}")
)
GREY = encoded(noise(40, 50), "png")


def asking(*lists: VariantList) -> CertifyRequest:
    return replace(BARE, variants=VariantsRequest(lists=lists, n=20))


def decoded(
    data: bytes, request: CertifyRequest, tmp_path: Path, variants_max: int = 64
) -> tuple[ModelInput, ImageRecord]:
    return decode_limited(data, request, CARD, WorkerSettings(data_dir=tmp_path, variants_max=variants_max))


def sample(name: str) -> bytes:
    path = get_testdata_file(name)
    assert path is not None
    return Path(path).read_bytes()


def test_every_window_of_the_header_is_rendered_as_if_it_were_sent(tmp_path: Path) -> None:
    data = sample("MR-SIEMENS-DICOM-WithOverlays.dcm")
    pixels, image = decoded(data, asking(HeaderWindows()), tmp_path)
    windows = [each.rendering.window for each in image.variants if isinstance(each.rendering, WindowVariant)]
    assert [(w.number, w.of, w.centre, w.width) for w in windows if isinstance(w, HeaderWindow)] == [
        (1, 2, 450.0, 790.0),
        (2, 2, 200.0, 443.0),
    ]
    for window, variant in zip(windows, pixels.variants, strict=True):
        assert isinstance(window, HeaderWindow)
        sent = replace(BARE, window=FixedWindow(centre=window.centre, width=window.width))
        assert np.array_equal(variant.pixels, decoded(data, sent, tmp_path)[0].pixels)
    assert np.array_equal(pixels.variants[0].pixels, pixels.pixels)  # the file's own window is its first
    assert not np.array_equal(pixels.variants[1].pixels, pixels.pixels)


def test_windows_of_the_header_are_listed_also_where_another_one_is_sent(tmp_path: Path) -> None:
    data = sample("MR-SIEMENS-DICOM-WithOverlays.dcm")
    request = replace(asking(HeaderWindows()), window=FixedWindow(centre=1.0, width=2.0))
    assert len(decoded(data, request, tmp_path)[1].variants) == 2


def test_lookup_tables_of_the_header_come_before_its_windows(tmp_path: Path) -> None:
    dataset = dcmread(BytesIO(sample("MR-SIEMENS-DICOM-WithOverlays.dcm")))
    with_table = dcmread(BytesIO(sample("vlut_04.dcm")))
    with_table.WindowCenter, with_table.WindowWidth = dataset.WindowCenter, dataset.WindowWidth
    file = BytesIO()
    with_table.save_as(file)
    _, image = decoded(file.getvalue(), asking(HeaderWindows()), tmp_path)
    windows = [each.rendering.window for each in image.variants if isinstance(each.rendering, WindowVariant)]
    kinds = [type(window) for window in windows]
    assert kinds == [HeaderTable] * kinds.count(HeaderTable) + [HeaderWindow] * 2
    assert HeaderTable in kinds


def test_every_list_is_complete_and_in_order(tmp_path: Path) -> None:
    lists = (
        NamedWindows(windows=(FixedWindow(centre=100.0, width=50.0),)),
        Shifts(pixels=1),
        JpegQualities(quality=(30, 90)),
        BitDepths(bits=(2, 8)),
    )
    pixels, image = decoded(GREY, asking(*lists), tmp_path)
    renderings = [each.rendering for each in image.variants]
    assert len(renderings) == 1 + 8 + 2 + 2
    assert renderings[0] == WindowVariant(window=SentWindow(centre=100.0, width=50.0))
    check_complete(lists, renderings)
    assert [each.input_sha256 for each in image.variants] == [each.sha256 for each in pixels.variants]
    assert np.array_equal(pixels.variants[-1].pixels, pixels.pixels)  # 8 bits are those of the file
    assert len({each.input_sha256 for each in image.variants[:-1]}) == len(renderings) - 1


def test_neighbour_frames_are_those_of_the_file(tmp_path: Path) -> None:
    data = sample("emri_small.dcm")
    pixels, image = decoded(data, replace(asking(NeighbourFrames(frames=1)), frame=3), tmp_path)
    assert [each.rendering.offset for each in image.variants if isinstance(each.rendering, FrameVariant)] == [-1, 1]
    for frame, variant in zip((2, 4), pixels.variants, strict=True):
        assert np.array_equal(variant.pixels, decoded(data, replace(BARE, frame=frame), tmp_path)[0].pixels)


def test_moved_regions_are_those_of_the_image(tmp_path: Path) -> None:
    request = replace(asking(RegionShifts(pixels=4, step=4)), region=Region(x=8, y=4, w=30, h=30))
    pixels, image = decoded(GREY, request, tmp_path)
    assert len(image.variants) == 8
    first = replace(BARE, region=Region(x=4, y=0, w=30, h=30))
    assert np.array_equal(pixels.variants[0].pixels, decoded(GREY, first, tmp_path)[0].pixels)


@pytest.mark.parametrize(
    ("data", "request_", "code"),
    [
        (GREY, asking(HeaderWindows()), "variant_unavailable"),
        (dicom(noise(40, 50)), asking(HeaderWindows()), "variant_unavailable"),
        (GREY, asking(NeighbourFrames(frames=1)), "variant_unavailable"),
        (GREY, asking(RegionShifts(pixels=1)), "variant_unavailable"),
        (
            GREY,
            replace(asking(RegionShifts(pixels=9, step=9)), region=Region(x=8, y=4, w=30, h=30)),
            "variant_unavailable",
        ),
        (
            encoded(noise(40, 50, 3), "png"),
            asking(NamedWindows(windows=(FixedWindow(centre=100.0, width=50.0),))),
            "unknown_window",
        ),
        (GREY, asking(Shifts(pixels=4)), "too_many_variants"),
    ],
    ids=["png header", "no window", "one frame", "no region", "region leaves", "colour", "80 shifts"],
)
def test_variant_that_the_file_cannot_have_is_refused(
    data: bytes, request_: CertifyRequest, code: str, tmp_path: Path
) -> None:
    with pytest.raises(Rejected) as refused:
        decoded(data, request_, tmp_path)
    assert refused.value.code == code


def test_number_of_variants_is_the_operators(tmp_path: Path) -> None:
    request = asking(JpegQualities(quality=(30, 40, 50)))
    assert len(decoded(GREY, request, tmp_path, variants_max=3)[1].variants) == 3
    with pytest.raises(Rejected) as refused:
        decoded(GREY, request, tmp_path, variants_max=2)
    assert refused.value.code == "too_many_variants"


def test_samples_of_all_variants_are_bounded(tmp_path: Path) -> None:
    request = replace(BARE, variants=VariantsRequest(lists=(JpegQualities(quality=(30, 40, 50)),), n=400_000))
    with pytest.raises(Rejected) as refused:
        decoded(GREY, request, tmp_path)
    assert refused.value.code == "too_many_variants"


def test_image_moves_down_and_to_the_right_and_repeats_its_edge() -> None:
    pixels = np.arange(12.0).reshape(3, 4, 1)
    assert moved(pixels, 1, 0)[:, 0, 0].tolist() == [0, 0, 4]
    assert moved(pixels, 0, -1)[0, :, 0].tolist() == [1, 2, 3, 3]
    assert moved(pixels, -1, 2)[..., 0].tolist() == [[4, 4, 4, 5], [8, 8, 8, 9], [8, 8, 8, 9]]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_changes_little_at_high_quality_and_more_at_low(channels: int) -> None:
    ramp = np.add.outer(np.linspace(0, 0.5, 40), np.linspace(0, 0.5, 50))
    pixels = np.repeat(ramp[..., None], channels, axis=2)
    high, low = (np.abs(through_jpeg(pixels, quality) - pixels).max() for quality in (95, 5))
    assert 0 < high < 0.02 < low


def test_rendering_of_jpeg_names_its_encoder(tmp_path: Path) -> None:
    rendering = decoded(GREY, asking(JpegQualities(quality=(50,))), tmp_path)[1].variants[0].rendering
    assert isinstance(rendering, JpegVariant)
    assert rendering.encoder.startswith("pillow ")
    assert "libjpeg" in rendering.encoder
