"""A header that is wrong, or easily read wrongly, gives the right values or the right code."""

import io
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ParametricMapStorage,
    RawDataStorage,
    RTDoseStorage,
    SegmentationStorage,
)

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.workers.decoders.dicom import decode
from tests.support.codestreams import codestream, compressed, smooth, through_gdcm
from tests.support.images import dicom, encoded, item, noise, sample

LIMIT = 64_000_000
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = smooth(channels=3)


def image(data: bytes) -> DecodedImage:
    return decode(data, max_pixels=LIMIT)


def grey(data: bytes) -> Any:
    return image(data).pixels[..., 0]


def refusal(data: bytes) -> str:
    with pytest.raises(Rejected) as refused:
        image(data)
    return refused.value.code


def labelled(data: bytes, written_as: str, label: str) -> bytes:
    """The file with its data set encoded as one transfer syntax and labelled as another."""
    file = pydicom.dcmread(io.BytesIO(data))
    buffer = io.BytesIO()
    file.file_meta.TransferSyntaxUID = UID(label)
    file.save_as(
        buffer,
        implicit_vr=written_as == ImplicitVRLittleEndian,
        little_endian=True,
        overwrite=True,
        force_encoding=True,
    )
    return buffer.getvalue()


# -- lookup tables -----------------------------------------------------------------------------------------------------


def table(values: Any, *, first: int = 0, bits: int = 8, vr: str = "US", count: int | None = None) -> Dataset:
    entries = item(LUTDescriptor=[len(values) if count is None else count, first, bits], LUTData=values)
    entries["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    entries["LUTData"].VR = vr
    return entries


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("vr", ["US", "SS", "OW"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_entries_are_unsigned_in_every_representation(sequence: str, vr: str, syntax: str) -> None:
    """65,535 in SS reads as -1."""
    levels = np.round(np.linspace(0, 65535, 256)).astype(np.uint16)
    values = {"US": levels.tolist(), "SS": levels.view(np.int16).tolist(), "OW": levels.astype("<u2").tobytes()}[vr]
    data = dicom(RAMP, **{sequence: [table(values, bits=16, vr=vr, count=256)]})
    assert np.abs(grey(labelled(data, syntax, syntax)) - RAMP / 255).max() < 1e-9


@pytest.mark.parametrize("bits", [8, 16])
def test_entries_of_big_endian_files_are_read(bits: int) -> None:
    levels = np.round(np.linspace(0, (1 << bits) - 1, 256)).astype(np.uint16)
    file = Dataset()
    file.update({element.tag: element for element in pydicom.dcmread(io.BytesIO(dicom(RAMP)))})
    file.VOILUTSequence = [table(levels.astype(">u2").tobytes(), bits=bits, vr="OW", count=256)]
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    buffer = io.BytesIO()
    file.save_as(buffer, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.abs(grey(buffer.getvalue()) - RAMP / 255).max() < 1e-9


@pytest.mark.parametrize("count", [255, 256])
@pytest.mark.parametrize("vr", ["OW", "OB", "US"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_entries_of_a_byte_each_are_read(count: int, vr: str, syntax: str) -> None:
    packed = bytes(range(255, 255 - count, -1))
    packed += bytes(len(packed) % 2)
    values: Any = np.frombuffer(packed, "<u2").tolist() if vr == "US" else packed
    data = dicom(RAMP, VOILUTSequence=[table(values, vr=vr, count=count)])
    expected = 255 - np.minimum(RAMP, count - 1).astype(np.float64)
    assert np.array_equal(grey(labelled(data, syntax, syntax)), expected / 255)


@pytest.mark.parametrize(
    ("stored", "elements", "first"),
    [
        (np.arange(-100, 156, dtype="i2"), {}, -100),
        (np.arange(65280, 65536, dtype="u2"), {}, 65436),
        (np.arange(900, 1156, dtype="u2"), {"RescaleSlope": 1, "RescaleIntercept": -1000}, -100),
        (np.arange(256, dtype="u2"), {"RescaleSlope": -1, "RescaleIntercept": 0}, -100),
        (np.arange(65280, 65536, dtype="u2"), {"RescaleSlope": 1, "RescaleIntercept": 0}, 65436),
        (np.arange(256, dtype="u2"), {"RescaleSlope": 1, "RescaleIntercept": 0, "Modality": "CT"}, -100),
        (np.arange(-128, 128, dtype="i2"), {"ModalityLUTSequence": [table([0, 65535], bits=16)]}, 65436),
    ],
    ids=["signed", "unsigned", "rescaled", "reversed", "rescaled unsigned", "CT", "table"],
)
@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_first_value_mapped_is_signed_where_its_input_may_be(
    stored: Any, elements: dict[str, Any], first: int, vr: str, syntax: str
) -> None:
    """The same 16 bits are -100 or 65,436; their own representation does not tell."""
    voi = table(list(range(256)))
    voi["LUTDescriptor"] = DataElement(0x00283002, vr, [256, -100 if vr == "SS" else 65436, 8])
    if "ModalityLUTSequence" in elements:
        after = np.where(stored > 0, 65535, 0)
    else:
        after = stored.astype(int) * elements.get("RescaleSlope", 1) + elements.get("RescaleIntercept", 0)
    data = labelled(dicom(stored.reshape(16, 16), **elements, VOILUTSequence=[voi]), syntax, syntax)
    assert np.array_equal(grey(data).ravel(), np.clip(after - first, 0, 255) / 255)


@pytest.mark.parametrize(
    ("values", "count"), [([0, 1, 2], 4), (bytes(2), 4), ([0, 300, 0, 0], 4)], ids=["few", "few bytes", "large"]
)
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_table_that_is_not_as_declared_is_refused(values: Any, count: int, sequence: str) -> None:
    vr = "OW" if isinstance(values, bytes) else "US"
    assert refusal(dicom(RAMP, **{sequence: [table(values, count=count, vr=vr)]})) == "unsupported_pixels"


@pytest.mark.parametrize(("largest", "reduced"), [(4080, True), (32767, True), (32768, False)])
def test_a_table_that_uses_fewer_bits_than_it_declares_is_told(largest: int, reduced: bool) -> None:
    levels = np.round(np.linspace(0, largest, 256)).astype(int).tolist()
    decoded = image(dicom(RAMP, VOILUTSequence=[table(levels, bits=16)]))
    assert decoded.facts.warnings == (("voi_lut_reduced",) if reduced else ())
    assert decoded.pixels.max() == largest / 65535


# -- rescale and window ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleIntercept": -1024},
        {"RescaleSlope": 2},
        {"RescaleIntercept": -1024, "RescaleSlope": ""},
        {"RescaleIntercept": "", "RescaleSlope": 2},
        {"RescaleIntercept": "", "RescaleSlope": ""},
        {"RescaleIntercept": [0, 1], "RescaleSlope": 2},
    ],
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_half_a_rescale_is_refused(elements: dict[str, Any], modality: str) -> None:
    assert refusal(dicom(RAMP, Modality=modality, **elements)) == "unsupported_pixels"
    group = item(PixelValueTransformationSequence=[item(**elements)])
    assert refusal(dicom(RAMP, Modality=modality, SharedFunctionalGroupsSequence=[group])) == "unsupported_pixels"


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 40},
        {"WindowWidth": 400},
        {"WindowCenter": "", "WindowWidth": 400},
        {"WindowCenter": 40, "WindowWidth": ""},
        {"WindowCenter": [40, 50], "WindowWidth": 400},
        {"WindowCenter": ["", "40"], "WindowWidth": ["", "400"]},
    ],
)
def test_half_a_window_is_refused(elements: dict[str, Any]) -> None:
    with pydicom.config.disable_value_validation():
        assert refusal(dicom(RAMP, **elements)) == "unsupported_pixels"


def test_a_blank_window_is_no_window() -> None:
    assert np.array_equal(grey(dicom(RAMP, WindowCenter="", WindowWidth="")), RAMP / 255)


# -- where the pixels are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written_as", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("label", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("stored", [noise(9, 12), noise(9, 12, dtype="u2"), noise(9, 12, 3)], ids=["u1", "u2", "rgb"])
def test_pixels_are_found_whatever_the_label_says(stored: Any, written_as: str, label: str) -> None:
    decoded = image(labelled(dicom(stored), written_as, label))
    assert np.array_equal(decoded.pixels.squeeze(), stored / np.iinfo(stored.dtype).max)


@pytest.mark.parametrize(
    "stored", [noise(16, 16), noise(16, 16, dtype="u2"), noise(16, 16, 3)], ids=["u1", "u2", "rgb"]
)
def test_uncompressed_pixels_of_undefined_length_are_refused(stored: Any) -> None:
    file = pydicom.dcmread(io.BytesIO(dicom(stored)))
    pixels = file.PixelData
    file.PixelData = encapsulate([pixels])
    file["PixelData"].is_undefined_length = True
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.5")
    buffer = io.BytesIO()
    file.save_as(buffer, implicit_vr=False, little_endian=True)
    native = buffer.getvalue().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    assert refusal(native) == "unreadable_image"


@pytest.mark.parametrize(("behind", "accepted"), [(bytes(1), True), (bytes(100), True), (b"\0" * 99 + b"\1", False)])
def test_only_padding_may_follow_uncompressed_pixels(behind: bytes, accepted: bool) -> None:
    data = dicom(RAMP, PixelData=RAMP.tobytes() + behind + bytes(len(behind) % 2))
    if accepted:
        assert np.array_equal(grey(data), RAMP / 255)
    else:
        assert refusal(data) == "unreadable_image"


def test_many_elements_before_the_pixels_are_refused() -> None:
    file = dicom(RAMP)
    at = file.index(b"\x28\0\x02\0US")
    many = b"".join(b"\x27\0" + (number % 65536).to_bytes(2, "little") + b"LO\0\0" for number in range(600_000))
    assert refusal(file[:at] + many + file[at:]) == "dicom_unsupported"


# -- bits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["jpeg_2000", "jpeg_ls", "jpeg_lossless", "rle"])
def test_bits_above_those_stored_are_cleared_in_every_encoding(kind: str, signed: bool) -> None:
    """A 16-bit stream of 12 bits stored, with an overlay in the others."""
    clean = smooth(bits=12)
    dirty = clean | ((noise(*clean.shape) & 0x0F).astype(np.uint16) << 12)
    if signed:
        clean = ((clean.astype(np.int16) << 4) >> 4).astype(np.int16)
    frame = codestream(kind, dirty.view(np.int16) if signed and kind == "jpeg_2000" else dirty)
    elements = {"BitsStored": 12, "HighBit": 11}
    data = compressed(kind, frame, clean if signed else dirty, **elements)
    assert np.array_equal(grey(data), grey(dicom(clean, **elements)))
    assert image(data).sha256 == image(dicom(clean, **elements)).sha256


@pytest.mark.parametrize("kind", ["jpeg_2000_lossy", "jpeg_ls_near"])
def test_a_lossy_stream_that_overshoots_its_bits_is_refused(kind: str) -> None:
    """To clear the bits above would turn white into black."""
    data = compressed(kind, codestream(kind, smooth(bits=16)), smooth(bits=16), BitsStored=12, HighBit=11)
    assert refusal(data) == "unreadable_image"


# -- colour ------------------------------------------------------------------------------------------------------------


def close_to(data: bytes, expected: Any) -> bool:
    return float(np.abs(image(data).pixels * 255 - expected).mean()) < 2


def test_rgb_jpeg_of_gdcm_is_not_rgb() -> None:
    """GDCM writes YCbCr with subsampled chroma and no marker, and leaves RGB in the header."""
    file = through_gdcm(dicom(COLOUR), gdcm.TransferSyntax.JPEGBaselineProcess1)
    assert file.PhotometricInterpretation == "RGB"
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert close_to(buffer.getvalue(), COLOUR)


def stripped(jpeg: bytes, identifiers: bytes | None = None) -> bytes:
    """A JPEG stream without JFIF and Adobe markers, and with other names of its components."""
    out, at = b"\xff\xd8", 2
    while jpeg[at + 1] != 0xDA:
        length = 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        segment = bytearray(jpeg[at : at + length])
        if identifiers and segment[1] in (0xC0, 0xC2):
            segment[10::3] = identifiers
        if segment[1] not in (0xE0, 0xEE):
            out += segment
        at += length
    scan = bytearray(jpeg[at:])
    if identifiers:
        scan[5:11:2] = identifiers
    return out + bytes(scan)


def rgb_jpeg(**options: Any) -> bytes:
    """Red, green and blue as the components, with an Adobe marker that says so."""
    return encoded(COLOUR, "jpeg", quality=98, keep_rgb=True, **options)


def ybr_jpeg(subsampling: int) -> bytes:
    return encoded(COLOUR, "jpeg", quality=98, subsampling=subsampling)


ADOBE_YCC = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    "frame",
    [
        rgb_jpeg(),
        stripped(rgb_jpeg(), b"RGB"),
        stripped(rgb_jpeg(), b"rgb"),
        ybr_jpeg(0),
        ybr_jpeg(1),
        ybr_jpeg(2),
        stripped(ybr_jpeg(1)),
        stripped(ybr_jpeg(2)),
        b"\xff\xd8" + ADOBE_YCC + stripped(ybr_jpeg(0))[2:],
        b"\xff\xd8" + ADOBE_YCC + stripped(ybr_jpeg(2), b"\0\1\2")[2:],
    ],
    ids=["adobe rgb", "RGB", "rgb", "jfif 444", "jfif 422", "jfif 420", "422", "420", "adobe 444", "adobe 420"],
)
def test_a_jpeg_that_says_what_its_components_are_is_believed(frame: bytes, photometric: str) -> None:
    assert close_to(compressed("jpeg", frame, COLOUR, PhotometricInterpretation=photometric), COLOUR)


@pytest.mark.parametrize(
    ("frame", "photometric"),
    [
        (stripped(rgb_jpeg(), b"\1\2\3"), "RGB"),
        (stripped(ybr_jpeg(0)), "YBR_FULL"),
        (stripped(ybr_jpeg(0)), "YBR_FULL_422"),
    ],
)
def test_the_header_decides_where_a_jpeg_does_not_say(frame: bytes, photometric: str) -> None:
    assert close_to(compressed("jpeg", frame, COLOUR, PhotometricInterpretation=photometric), COLOUR)


def test_uncompressed_422_with_three_bytes_a_pixel_is_refused() -> None:
    ybr = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    assert close_to(dicom(ybr, PhotometricInterpretation="YBR_FULL"), COLOUR)
    assert refusal(dicom(ybr, PhotometricInterpretation="YBR_FULL_422")) == "unreadable_image"
    odd = noise(9, 11, 3)
    pixels = np.concatenate([odd.ravel(), odd.ravel()])[: 9 * 11 * 2].tobytes()
    assert refusal(dicom(odd, PhotometricInterpretation="YBR_FULL_422", PixelData=pixels)) == "unreadable_image"


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT"])
def test_a_colour_transform_that_jpeg_2000_does_not_have_is_refused(photometric: str) -> None:
    frame = bytearray(codestream("jpeg_2000", COLOUR))
    together = frame.index(b"\xff\x52") + 8
    transformed = bytes(frame)
    assert image(compressed("jpeg_2000", transformed, COLOUR, PhotometricInterpretation="RGB")).facts.channels == 3
    photometrics = (photometric, "YBR_FULL") if frame[together] else ("YBR_FULL", photometric)
    image(compressed("jpeg_2000", transformed, COLOUR, PhotometricInterpretation=photometrics[0]))
    refused = compressed("jpeg_2000", transformed, COLOUR, PhotometricInterpretation=photometrics[1])
    assert refusal(refused) == "unsupported_pixels"


# -- kinds of objects and pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["CT", "MR", "OT"])
@pytest.mark.parametrize("sop_class", [RTDoseStorage, ParametricMapStorage, SegmentationStorage, RawDataStorage])
def test_the_class_of_an_object_is_asked_too(sop_class: str, modality: str) -> None:
    assert refusal(dicom(RAMP, SOPClassUID=sop_class, Modality=modality)) == "dicom_not_an_image"


@pytest.mark.parametrize("sop_class", [CTImageStorage, "1.2.840.10008.5.1.4.1.1.6.2", "1.2.3.4.5", None])
def test_classes_of_images_and_unknown_ones_are_decoded(sop_class: str | None) -> None:
    assert np.array_equal(grey(dicom(RAMP, SOPClassUID=sop_class or "1.2.3")), RAMP / 255)


@pytest.mark.parametrize(
    ("elements", "accepted"),
    [
        ({"PixelAspectRatio": [1, 1]}, True),
        ({"PixelAspectRatio": [7, 7]}, True),
        ({"PixelAspectRatio": [2, 1]}, False),
        ({"PixelAspectRatio": [3, 4]}, False),
        ({"PixelSpacing": [0.5, 0.5]}, True),
        ({"PixelSpacing": [0.545, 0.597]}, True),
        ({"PixelSpacing": [5, 0.7]}, False),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, False),
        ({"SharedFunctionalGroupsSequence": [item(PixelMeasuresSequence=[item(PixelSpacing=[5, 1])])]}, False),
    ],
)
def test_pixels_that_are_not_square_are_refused(elements: dict[str, Any], accepted: bool) -> None:
    data = dicom(RAMP, **elements)
    if accepted:
        assert np.array_equal(grey(data), RAMP / 255)
    else:
        assert refusal(data) == "unsupported_pixels"


@pytest.mark.parametrize("name", ["color-pl.dcm", "color-px.dcm"])
def test_samples_with_pixels_that_are_not_square_are_refused(name: str) -> None:
    assert refusal(sample(name)) == "unsupported_pixels"
