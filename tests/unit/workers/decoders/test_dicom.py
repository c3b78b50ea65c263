"""DICOM is decoded by the grayscale pipeline of PS3.3 C.11, as pydicom's own functions and hand calculation do."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.types import Region
from certrad.models.types.window_lattice import cell
from certrad.workers.decoders import bounded_reader
from certrad.workers.decoders.dicom import decode
from tests.support.images import dicom, item, noise, sample, written

LIMIT = 64_000_000


def picture(data: bytes, **options: Any) -> DecodedImage:
    return decode(data, **{"max_pixels": LIMIT, **options})


def grey(data: bytes, **options: Any) -> NDArray[np.float64]:
    return picture(data, **options).pixels[..., 0]


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(Rejected) as refused:
        picture(data, **options)
    return refused.value.code


def rounded(centre: float, width: float) -> tuple[float, float]:
    """Centre and width of the window of the lattice that a window is rounded to."""
    found = cell(centre, width)
    return found.centre, found.width


def steep(width: float) -> float:
    """The width of the ramp of a LINEAR window after it was rounded."""
    return rounded(0.0, width)[1] - 1


def pydicoms(name: str) -> NDArray[np.float64]:
    """Modality and VOI of pydicom, in the window that the file's is rounded to, scaled from the range it maps it to."""
    dataset = pydicom.dcmread(io.BytesIO(sample(name)))
    if "WindowWidth" in dataset and "VOILUTSequence" not in dataset:
        found = cell(float(dataset.WindowCenter), float(dataset.WindowWidth))
        dataset.WindowCenter, dataset.WindowWidth = DSfloat(found.centre, True), DSfloat(found.width, True)
    windowed = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    if "VOILUTSequence" in dataset:
        low, high = 0, (1 << dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif "ModalityLUTSequence" in dataset:
        low, high = 0, (1 << dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    else:
        signed = dataset.PixelRepresentation
        ends = [-(1 << dataset.BitsStored - 1), (1 << dataset.BitsStored - 1) - 1]
        ends = ends if signed else [0, (1 << dataset.BitsStored) - 1]
        low, high = (end * dataset.get("RescaleSlope", 1) + dataset.get("RescaleIntercept", 0) for end in ends)
    unit = (windowed - float(low)) / float(high - low)
    return 1 - unit if dataset.PhotometricInterpretation == "MONOCHROME1" else unit


@pytest.mark.parametrize(
    ("name", "transforms"),
    [
        ("693_UNCI.dcm", ("rescale", "window_linear")),
        ("MR2_UNCI.dcm", ("rescale", "window_linear")),
        ("MR_small.dcm", ("window_linear",)),
        ("RG1_UNCI.dcm", ("window_linear", "invert")),
        ("RG3_UNCI.dcm", ("window_linear", "invert")),
        ("mlut_18.dcm", ("modality_lut", "full_range")),
        ("vlut_04.dcm", ("voi_lut",)),
        ("CT_small.dcm", ("rescale", "full_range")),
    ],
)
def test_monochrome_is_what_pydicom_computes(name: str, transforms: tuple[str, ...]) -> None:
    decoded = picture(sample(name))
    assert decoded.facts.transforms == transforms
    assert np.abs(decoded.pixels[..., 0] - pydicoms(name)).max() < 1e-12


@pytest.mark.parametrize(
    "name", ["SC_rgb.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_expb.dcm", "SC_rgb_gdcm_KY.dcm"]
)
def test_one_colour_picture_in_many_encodings(name: str) -> None:
    expected = pydicom.dcmread(io.BytesIO(sample("SC_rgb.dcm"))).pixel_array / 255
    assert np.abs(picture(sample(name)).pixels - expected).max() <= 1 / 255


@pytest.mark.parametrize("name", ["SC_ybr_full_uncompressed.dcm", "SC_ybr_full_422_uncompressed.dcm", "US1_J2KR.dcm"])
def test_ybr_is_converted_once(name: str) -> None:
    expected = pixel_array(io.BytesIO(sample(name)))
    assert np.array_equal(picture(sample(name)).pixels, expected / 255)


def test_16_bit_rgb() -> None:
    array = noise(9, 11, 3, dtype="u2")
    assert np.array_equal(picture(dicom(array)).pixels, array / 65535)


@pytest.mark.parametrize(("name", "bits"), [("OBXXXX1A.dcm", 16), ("gdcm-US-ALOKA-16.dcm", 16)])
def test_palette_becomes_its_colours(name: str, bits: int) -> None:
    dataset = pydicom.dcmread(io.BytesIO(sample(name)))
    expected = apply_color_lut(dataset.pixel_array, dataset) / ((1 << bits) - 1)
    decoded = picture(sample(name))
    assert decoded.facts.transforms == ("palette", "full_range")
    assert np.array_equal(decoded.pixels, expected)


def test_big_endian_palette_is_refused() -> None:
    assert refusal(sample("OBXXXX1A_expb.dcm")) == "unsupported_pixels"


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm",
     "MR_small_jpeg_ls_lossless.dcm"],
)  # fmt: skip
def test_lossless_encodings_have_one_digest(name: str) -> None:
    plain, encoded = picture(sample("MR_small.dcm")), picture(sample(name))
    assert encoded.sha256 == plain.sha256
    assert encoded.facts.transfer_syntax != plain.facts.transfer_syntax or "implicit" in name
    assert np.array_equal(encoded.pixels, plain.pixels)


# -- windows -----------------------------------------------------------------------------------------------------------

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_functions_are_those_of_the_standard(function: str | None) -> None:
    centre, width = rounded(30.0, 21.0)
    x = RAMP.astype(np.float64)
    expected = {
        "LINEAR": np.where(
            x <= centre - 0.5 - (width - 1) / 2,
            0.0,
            np.where(x > centre - 0.5 + (width - 1) / 2, 1.0, (x - (centre - 0.5)) / (width - 1) + 0.5),
        ),
        "LINEAR_EXACT": np.clip((x - centre) / width + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - centre) / width)),
    }[function or "LINEAR"]
    data = dicom(RAMP, WindowCenter=30, WindowWidth=21, VOILUTFunction=function)
    assert np.abs(grey(data) - expected).max() < 1e-14


def test_the_first_of_several_windows_is_taken() -> None:
    several = dicom(RAMP, WindowCenter=[30, 10], WindowWidth=[20, 5])
    assert np.array_equal(grey(several), grey(dicom(RAMP, WindowCenter=30, WindowWidth=20)))


@pytest.mark.parametrize(
    ("function", "width"), [("LINEAR", 1), ("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -3), ("OTHER", 20)]
)
def test_a_window_that_is_a_step_is_refused(function: str, width: float) -> None:
    data = dicom(RAMP, WindowCenter=30, WindowWidth=width, VOILUTFunction=function)
    assert refusal(data) == "unsupported_pixels"


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2"])
def test_without_a_window_the_range_of_the_bits_is_taken(dtype: str) -> None:
    limits = np.iinfo(dtype)
    array = noise(9, 11, dtype=dtype)
    expected = (array.astype(np.float64) - limits.min) / (limits.max - limits.min)
    assert np.abs(grey(dicom(array)) - expected).max() < 1e-15


def test_the_range_does_not_depend_on_the_pixels() -> None:
    dark = dicom(RAMP, BitsStored=8)
    bright = dicom(RAMP + np.uint8(100))
    assert np.abs(grey(bright) - grey(dark) - 100 / 255).max() < 1e-15


def test_a_negative_slope_reverses() -> None:
    assert np.abs(grey(dicom(RAMP, RescaleSlope=-2, RescaleIntercept=7)) - (1 - RAMP / 255)).max() < 1e-15


def test_modality_table_reaches_beyond_its_ends() -> None:
    table = item(LUTDescriptor=[3, 10, 8], ModalityLUTType="US", LUTData=[5, 100, 255])
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    expected = np.where(RAMP <= 10, 5, np.where(RAMP == 11, 100, 255)) / 255
    assert np.array_equal(grey(dicom(RAMP, ModalityLUTSequence=[table])), expected)


def test_unused_bits_are_not_read() -> None:
    array = noise(9, 11, dtype="u2") & 0x0FFF
    clean = dicom(array, BitsStored=12)
    dirty = dicom(array | 0xA000, BitsStored=12)
    assert np.array_equal(grey(dirty), grey(clean))
    assert picture(dirty).sha256 == picture(clean).sha256


def test_monochrome1_is_inverted_after_the_window() -> None:
    window = {"WindowCenter": 30, "WindowWidth": 21}
    inverted = grey(dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **window))
    assert np.array_equal(inverted, 1 - grey(dicom(RAMP, **window)))


@pytest.mark.parametrize(
    ("photometric", "shape", "accepted"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", False),
    ],
)
def test_presentation_lut_shape_must_agree(photometric: str, shape: str, accepted: bool) -> None:
    with_shape = dicom(RAMP, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    if accepted:
        assert np.array_equal(grey(with_shape), grey(dicom(RAMP, PhotometricInterpretation=photometric)))
    else:
        assert refusal(with_shape) == "unsupported_pixels"


# -- units -------------------------------------------------------------------------------------------------------------


def table(values: list[int]) -> Any:
    entries = item(LUTDescriptor=[len(values), 0, 8], LUTData=values)
    entries["LUTDescriptor"].VR = entries["LUTData"].VR = "US"
    return entries


@pytest.mark.parametrize(
    ("elements", "slope"),
    [
        ({}, 1 / 255),
        ({"BitsStored": 7}, 1 / 127),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 1 / 255),
        ({"RescaleSlope": -2, "RescaleIntercept": 7}, 1 / 255),
        ({"WindowCenter": 30, "WindowWidth": 21}, 1 / steep(21)),
        ({"WindowCenter": 30, "WindowWidth": 21, "VOILUTFunction": "LINEAR_EXACT"}, 1 / rounded(30, 21)[1]),
        ({"WindowCenter": 30, "WindowWidth": 21, "VOILUTFunction": "SIGMOID"}, 1 / rounded(30, 21)[1]),
        (
            {"WindowCenter": 30, "WindowWidth": 21, "RescaleSlope": -2, "RescaleIntercept": 7},
            2 / steep(21),
        ),
        (
            {"WindowCenter": 35, "WindowWidth": 5, "RescaleSlope": 10, "RescaleIntercept": 0},
            10 / steep(5),
        ),
        ({"VOILUTSequence": [table([0, 9, 3, 4, 5, 200, 201, 255])]}, 195 / 255),
        # A table is reached through rounding: half a unit of its input may be one of its steps.
        ({"VOILUTSequence": [table([0, 60, 120, 180])], "RescaleSlope": 0.5, "RescaleIntercept": 0}, 60 / 255),
        (
            {"ModalityLUTSequence": [table([0, 100, 120])], "WindowCenter": 60, "WindowWidth": 401},
            100 / steep(401),
        ),
    ],
)
def test_slope_is_the_largest_change_of_a_pixel_per_unit(elements: dict[str, Any], slope: float) -> None:
    facts = picture(dicom(RAMP, **elements)).facts
    assert facts.unit == "stored value"
    assert facts.slope == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize(
    ("elements", "unit", "slope"),
    [
        ({"RescaleType": "HU"}, "HU", 1 / steep(400)),
        ({"Modality": "CT"}, "HU", 1 / steep(400)),
        ({"Modality": "CT", "RescaleType": "HU"}, "HU", 1 / steep(400)),
        ({"Modality": "CT", "RescaleType": "Z_EFF"}, "stored value", 2.5 / steep(400)),
        ({"Modality": "MR"}, "stored value", 2.5 / steep(400)),
        (
            {"Modality": "CT", "RescaleSlope": None, "RescaleIntercept": None},
            "stored value",
            1 / steep(400),
        ),
    ],
)
def test_hounsfield_units_are_told_apart(elements: dict[str, Any], unit: str, slope: float) -> None:
    defaults = {"RescaleSlope": -2.5, "RescaleIntercept": 0, "WindowCenter": 0, "WindowWidth": 400}
    facts = picture(dicom(RAMP.astype(np.int16), **{**defaults, **elements})).facts
    assert facts.unit == unit
    assert facts.slope == pytest.approx(slope, rel=1e-9)


def test_a_rescale_that_overflows_is_refused() -> None:
    assert refusal(dicom(RAMP, RescaleSlope=1e308, RescaleIntercept=0)) == "unsupported_pixels"


def test_colours_are_in_grey_levels_of_what_they_are_decoded_to() -> None:
    colour, palette = (picture(data).facts for data in (dicom(noise(9, 8, 3)), sample("OBXXXX1A.dcm")))
    assert (colour.unit, colour.bits) == ("grey level", 8)
    assert colour.slope == pytest.approx(1 / 255)
    assert (palette.unit, palette.bits) == ("grey level", 16)
    assert palette.slope == pytest.approx(1 / 65535)


# -- frames and regions ------------------------------------------------------------------------------------------------


def test_several_frames_need_a_frame() -> None:
    data = sample("emri_small.dcm")
    assert refusal(data) == "frame_required"
    assert refusal(data, frame=11) == "frame_out_of_range"
    assert refusal(dicom(RAMP), frame=2) == "frame_out_of_range"


def test_frames_are_counted_from_1() -> None:
    array = noise(3, 9, 11)
    data = dicom(array)
    for number in (1, 2, 3):
        decoded = picture(data, frame=number)
        assert np.array_equal(decoded.pixels[..., 0], array[number - 1] / 255)
        assert (decoded.facts.frame, decoded.facts.frames) == (number, 3)


def test_functional_groups_hold_rescale_and_window() -> None:
    dataset = pydicom.dcmread(io.BytesIO(sample("eCT_Supplemental.dcm")))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    own = dataset.PerFrameFunctionalGroupsSequence[1]
    macro = next(group for group in (own, shared) if "PixelValueTransformationSequence" in group)
    voi = next(group for group in (own, shared) if "FrameVOILUTSequence" in group)
    rescale, window = macro.PixelValueTransformationSequence[0], voi.FrameVOILUTSequence[0]
    x = dataset.pixel_array[1] * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
    centre, width = rounded(float(window.WindowCenter), float(window.WindowWidth))
    expected = np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    assert np.abs(grey(sample("eCT_Supplemental.dcm"), frame=2) - expected).max() < 1e-12


def test_a_frames_own_group_wins() -> None:
    def group(centre: int) -> Any:
        return item(FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=10)])

    data = dicom(
        np.stack([RAMP, RAMP]),
        SharedFunctionalGroupsSequence=[group(50)],
        PerFrameFunctionalGroupsSequence=[group(20), item(FrameLabel="other")],
    )
    assert np.array_equal(grey(data, frame=1), grey(dicom(RAMP, WindowCenter=20, WindowWidth=10)))
    assert np.array_equal(grey(data, frame=2), grey(dicom(RAMP, WindowCenter=50, WindowWidth=10)))


def test_a_region_is_cut_from_the_stored_values() -> None:
    whole = grey(sample("693_UNCI.dcm"))
    region = Region(x=100, y=200, w=64, h=32)
    assert np.array_equal(grey(sample("693_UNCI.dcm"), region=region), whole[200:232, 100:164])
    assert refusal(sample("693_UNCI.dcm"), region=Region(x=500, y=0, w=13, h=9)) == "region_out_of_range"


# -- the digest --------------------------------------------------------------------------------------------------------


def test_equal_digests_need_equal_rendering() -> None:
    table = item(LUTDescriptor=[64, 0, 8], LUTData=list(range(64)))
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    other = item(LUTDescriptor=[64, 0, 8], LUTData=[*range(63), 200])
    other["LUTDescriptor"].VR = other["LUTData"].VR = "US"
    files = [
        dicom(RAMP),
        dicom(RAMP, WindowCenter=30, WindowWidth=20),
        dicom(RAMP, WindowCenter=30, WindowWidth=21),
        dicom(RAMP, WindowCenter=31, WindowWidth=20),
        dicom(RAMP, WindowCenter=30, WindowWidth=20, VOILUTFunction="SIGMOID"),
        dicom(RAMP, RescaleSlope=2, RescaleIntercept=0),
        dicom(RAMP, RescaleSlope=2, RescaleIntercept=1),
        dicom(RAMP, BitsStored=7),
        dicom(RAMP, PhotometricInterpretation="MONOCHROME1"),
        dicom(RAMP, VOILUTSequence=[table]),
        dicom(RAMP, VOILUTSequence=[other]),
        dicom(RAMP, ModalityLUTSequence=[table]),
    ]
    assert len({picture(data).sha256 for data in files}) == len(files)


def test_the_digest_does_not_depend_on_who_the_patient_is() -> None:
    anonymous = picture(dicom(RAMP)).sha256
    assert picture(dicom(RAMP, PatientName="Mustermann^Erika", StudyDate="19640812")).sha256 == anonymous


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("image_dfl.dcm", "dicom_unsupported"),
        ("meta_missing_tsyntax.dcm", "dicom_unsupported"),
        ("JPGExtended.dcm", "dicom_unsupported"),
        ("liver_1frame.dcm", "dicom_not_an_image"),
        ("rtdose_1frame.dcm", "dicom_not_an_image"),
        ("reportsi.dcm", "dicom_not_an_image"),
        ("waveform_ecg.dcm", "dicom_without_pixels"),
        ("no_meta_group_length.dcm", "dicom_without_pixels"),
        ("SC_rgb_32bit.dcm", "unsupported_pixels"),
        ("MR_truncated.dcm", "unreadable_image"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "unreadable_image"),
        ("SC_rgb_small_odd.dcm", "image_too_small"),
    ],
)
def test_refused_samples(name: str, code: str) -> None:
    assert refusal(sample(name)) == code


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"PixelData": None}, "dicom_without_pixels"),
        ({"Modality": "SEG"}, "dicom_not_an_image"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported_pixels"),
        ({"PhotometricInterpretation": "RGB"}, "unsupported_pixels"),
        ({"HighBit": 5}, "unsupported_pixels"),
        ({"BitsStored": 12}, "unsupported_pixels"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "unsupported_pixels"),
        ({"Rows": 60_000, "Columns": 60_000}, "image_too_large"),
        ({"Rows": 9}, "unreadable_image"),
        ({"Rows": None}, "unreadable_image"),
    ],
)
def test_refused_elements(elements: dict[str, Any], code: str) -> None:
    assert refusal(dicom(RAMP, **elements)) == code


def undefined_length(tag: bytes, representation: bytes = b"") -> bytes:
    return tag + (representation + b"\0\0" if representation else b"") + b"\xff" * 4


PRIVATE_SEQUENCE = undefined_length(b"\x29\0\x10\x10", b"SQ")
ITEM, ITEM_OF_UNDEFINED_LENGTH = b"\xfe\xff\x00\xe0\0\0\0\0", undefined_length(b"\xfe\xff\x00\xe0")
ITEM_END, SEQUENCE_END = b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
ELEMENT, META_ELEMENT = b"\x29\0\x11\x10SH\0\0", b"\2\0\2\1SH\0\0"


@pytest.mark.parametrize(
    ("before", "many"),
    [
        (b"\xe0\x7f\x10\0", lambda count: count * ELEMENT),
        (b"\xe0\x7f\x10\0", lambda count: PRIVATE_SEQUENCE + count * ITEM + SEQUENCE_END),
        (
            b"\xe0\x7f\x10\0",
            lambda count: PRIVATE_SEQUENCE + ITEM_OF_UNDEFINED_LENGTH + count * ELEMENT + ITEM_END + SEQUENCE_END,
        ),
        (b"\2\0\x10\0UI", lambda count: count * META_ELEMENT),
    ],
    ids=["flat", "items of a private sequence", "elements of an item", "file meta information"],
)
def test_a_header_of_endless_elements_is_refused_at_any_depth(
    before: bytes, many: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_reader, "READS_MAX", 1_000)
    data = dicom(RAMP)
    place = data.index(before)
    picture(data[:place] + many(10) + data[place:])
    assert refusal(data[:place] + many(1_001) + data[place:]) == "dicom_unsupported"


def test_float_pixels_are_refused() -> None:
    data = dicom(RAMP, PixelData=None, FloatPixelData=b"\0" * 256)
    assert refusal(data) == "unsupported_pixels"


def test_a_deflated_bomb_is_not_inflated() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(np.zeros((4000, 4000), np.uint16))))
    bomb = written(dataset, DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 100_000
    assert refusal(bomb) == "dicom_unsupported"


def test_lossy_is_told() -> None:
    assert picture(sample("JPEGLSNearLossless_08.dcm")).facts.lossy
    assert picture(dicom(RAMP, LossyImageCompression="01")).facts.lossy
    assert not picture(dicom(RAMP)).facts.lossy


def test_the_decoder_is_told() -> None:
    assert picture(sample("693_J2KI.dcm")).facts.decoder.startswith("pylibjpeg-openjpeg ")
    assert picture(sample("SC_rgb_jpeg_gdcm.dcm")).facts.decoder.startswith("python-gdcm ")
