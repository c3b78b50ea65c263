"""A table of faults, codec by codec: each file is decoded to the right values or refused with the right code."""

import struct
from typing import Any

import numpy as np
import pytest

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.workers.decoders import pixel_data
from certrad.workers.decoders.dicom import decode
from tests.support.codestreams import COLUMNS, ROWS, codestream, compressed, smooth
from tests.support.images import encoded

LIMIT = 64_000_000
GREY, COLOUR = smooth(), smooth(channels=3)
LOSSLESS = ("jpeg_lossless", "jpeg_ls", "jpeg_2000", "rle")
LOSSY = ("jpeg", "jpeg_ls_near", "jpeg_2000_lossy")
WITH_A_SIZE = ("jpeg", "jpeg_lossless", "jpeg_ls", "jpeg_ls_near", "jpeg_2000", "jpeg_2000_lossy")


def image(data: bytes) -> DecodedImage:
    return decode(data, max_pixels=LIMIT)


def refusal(data: bytes) -> str:
    with pytest.raises(Rejected) as refused:
        image(data)
    return refused.value.code


# -- streams and headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_stream_that_fits_its_header_is_decoded(kind: str, stored: Any) -> None:
    decoded = image(compressed(kind, codestream(kind, stored), stored)).pixels * 255
    error = np.abs(decoded.squeeze() - stored)
    assert error.max() == 0 if kind in LOSSLESS else error.mean() < 3


@pytest.mark.parametrize("shape", [(COLUMNS, ROWS), (ROWS * 2, COLUMNS // 2), (ROWS, COLUMNS - 1), (ROWS + 1, COLUMNS)])
@pytest.mark.parametrize("stored", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", [*WITH_A_SIZE, "rle"])
def test_rows_and_columns_of_stream_and_header_must_agree(kind: str, stored: Any, shape: tuple[int, int]) -> None:
    like = smooth(*shape, channels=3 if stored.ndim == 3 else 1)
    assert refusal(compressed(kind, codestream(kind, stored), like)) == "unreadable_image"


@pytest.mark.parametrize("kind", [*WITH_A_SIZE, "rle"])
def test_samples_of_stream_and_header_must_agree(kind: str) -> None:
    assert refusal(compressed(kind, codestream(kind, GREY), COLOUR)) == "unreadable_image"
    assert refusal(compressed(kind, codestream(kind, COLOUR), GREY)) == "unreadable_image"
    third = smooth(ROWS, COLUMNS // 3, channels=3)  # as many samples in all
    assert refusal(compressed(kind, codestream(kind, GREY), third)) == "unreadable_image"


@pytest.mark.parametrize("kind", ["jpeg_lossless", "jpeg_ls", "jpeg_2000"])
def test_a_stream_of_more_bits_than_are_allocated_is_refused(kind: str) -> None:
    assert refusal(compressed(kind, codestream(kind, smooth(bits=12), bits=12), GREY)) == "unreadable_image"


@pytest.mark.parametrize("kind", ["jpeg_ls", "jpeg_2000"])
def test_signed_values_of_fewer_bits_than_are_stored_are_refused(kind: str) -> None:
    """The sign of 10 bits could be the tenth or the twelfth."""
    frame = codestream(kind, smooth(bits=10), bits=10)
    signed = compressed(kind, frame, smooth(bits=10).astype(np.int16), BitsStored=12, HighBit=11)
    unsigned = compressed(kind, frame, smooth(bits=10), BitsStored=12, HighBit=11)
    assert refusal(signed) == "unreadable_image"
    assert np.array_equal(image(unsigned).pixels[..., 0], smooth(bits=10) / 4095)


@pytest.mark.parametrize("kind", WITH_A_SIZE)
@pytest.mark.parametrize("label", WITH_A_SIZE)
def test_a_stream_of_another_kind_than_the_label_says_is_refused(kind: str, label: str) -> None:
    data = compressed(label, codestream(kind, GREY), GREY)
    if kind.split("_near")[0].split("_lossy")[0] == label.split("_near")[0].split("_lossy")[0]:
        assert image(data).facts.lossy == (kind in LOSSY or label in LOSSY)
    else:
        assert refusal(data) == "unreadable_image"


def resized_jpeg_2000(frame: bytes, side: int, tile: int) -> bytes:
    size = bytearray(frame)
    struct.pack_into(">8I", size, 8, side, side, 0, 0, tile, tile, 0, 0)
    return bytes(size)


@pytest.mark.parametrize(
    ("side", "tile", "rows", "code"),
    [
        (30_000, 30_000, ROWS, "unreadable_image"),
        (30_000, 30_000, 30_000, "image_too_large"),
        (7_900, 1, 7_900, "unsupported_pixels"),
        (7_900, 31, 7_900, "unsupported_pixels"),
        (2_000, 16, 2_000, "unsupported_pixels"),
    ],
)
def test_sizes_of_a_codestream_bound_the_work(
    monkeypatch: pytest.MonkeyPatch, side: int, tile: int, rows: int, code: str
) -> None:
    monkeypatch.setattr(pixel_data, "_decoded", lambda *_: pytest.fail("pixels were decoded"))
    frame = resized_jpeg_2000(codestream("jpeg_2000", GREY), side, tile)
    columns = rows if rows > ROWS else COLUMNS
    assert refusal(compressed("jpeg_2000", frame, GREY, Rows=rows, Columns=columns)) == code


# -- damaged streams ---------------------------------------------------------------------------------------------------


def cut(frame: bytes) -> bytes:
    return frame[: len(frame) * 2 // 5]


def cut_with_end_marker(frame: bytes) -> bytes:
    return cut(frame) + b"\xff\xd9"


def zeros_in_the_middle(frame: bytes) -> bytes:
    return frame[: len(frame) // 2] + bytes(100) + frame[len(frame) // 2 + 100 :]


def zeros_at_the_end(frame: bytes) -> bytes:
    return frame[:-200] + bytes(200)


def zeros_before_the_end_marker(frame: bytes) -> bytes:
    return frame[:-202] + bytes(200) + b"\xff\xd9"


FAULTS = (cut, cut_with_end_marker, zeros_in_the_middle, zeros_at_the_end, zeros_before_the_end_marker)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stored", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_damaged_stream_is_unreadable(kind: str, stored: Any, fault: Any) -> None:
    assert refusal(compressed(kind, fault(codestream(kind, stored)), stored)) == "unreadable_image"


@pytest.mark.parametrize("kind", ["jpeg", "jpeg_lossless", "jpeg_ls"])
def test_most_streams_with_a_flipped_bit_in_their_tables_are_refused(kind: str) -> None:
    """A flipped bit of a coefficient may be an image; what libjpeg and CharLS can tell from one is heard."""
    frame = codestream(kind, GREY)
    heard = 0
    for at in range(len(frame) // 4, len(frame) - 2, len(frame) // 97):
        flipped = bytearray(frame)
        flipped[at] ^= 0x40
        try:
            image(compressed(kind, bytes(flipped), GREY))
        except Rejected as refused:
            heard += refused.code == "unreadable_image"
    assert heard > 5


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_blank_image_is_no_damage(kind: str) -> None:
    """Its coded data are zeros, or nearly."""
    for blank in (np.zeros((512, 512), np.uint8), np.full((512, 512, 3), 128, np.uint8)):
        assert (
            np.abs(
                image(compressed(kind, codestream(kind, blank), blank)).pixels * 255 - blank.reshape(512, 512, -1)
            ).max()
            <= 3
        )


@pytest.mark.parametrize("options", [{"optimize": True}, {"progressive": True}, {"optimize": True, "quality": 5}])
@pytest.mark.parametrize("stored", [GREY, COLOUR, np.zeros((512, 512), np.uint8)], ids=["grey", "colour", "black"])
def test_jpeg_with_tables_of_its_own_is_no_damage(stored: Any, options: dict[str, Any]) -> None:
    assert image(compressed("jpeg", encoded(stored, "jpeg", **options), stored)).facts.lossy
