"""A table of faults of PNG, JPEG and TIFF files: each is decoded to the right values or refused with the right code."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from certrad.models.errors import Rejected
from certrad.workers.decoders.raster import RasterFormat, decode
from tests.support.codestreams import smooth
from tests.support.images import encoded, noise, png_16, saved, tiff_16

LIMIT = 64_000_000
GREY, COLOUR, DEEP = smooth(), smooth(channels=3), smooth(bits=16)
STORED = {"grey": GREY, "colour": COLOUR, "deep": DEEP}


def pixels(data: bytes, image_format: RasterFormat) -> Any:
    return decode(data, image_format, max_pixels=LIMIT).pixels.squeeze()


def refusal(data: bytes, image_format: RasterFormat) -> str:
    with pytest.raises(Rejected) as refused:
        decode(data, image_format, max_pixels=LIMIT)
    return refused.value.code


def zeroed(data: bytes, start: int, count: int) -> bytes:
    return data[:start] + bytes(count) + data[start + count :]


# -- PNG ---------------------------------------------------------------------------------------------------------------


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        struct.pack(">I", len(part)) + kind + part + zlib.crc32(kind + part).to_bytes(4) for kind, part in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def with_pixels(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The PNG with other compressed pixels, under right checksums of the chunks."""
    parts = chunks(data)
    compressed = b"".join(part for kind, part in parts if kind == b"IDAT")
    return png([parts[0], (b"IDAT", change(compressed)), (b"IEND", b"")])


def rows_missing(compressed: bytes) -> bytes:
    return zlib.compress(zlib.decompress(compressed)[:-200])


def rows_too_many(compressed: bytes) -> bytes:
    return zlib.compress(zlib.decompress(compressed) + bytes(97))


def zero_tail(compressed: bytes) -> bytes:
    return compressed[:-40] + bytes(40)


def wrong_adler(compressed: bytes) -> bytes:
    return compressed[:-1] + bytes([compressed[-1] ^ 1])


def without_adler(compressed: bytes) -> bytes:
    return compressed[:-4]


def something_behind(compressed: bytes) -> bytes:
    return compressed + b"more"


def zeros_in_the_middle(compressed: bytes) -> bytes:
    return zeroed(compressed, len(compressed) // 2, 100)


@pytest.mark.parametrize(
    "change",
    [rows_missing, rows_too_many, zero_tail, wrong_adler, without_adler, something_behind, zeros_in_the_middle],
)
@pytest.mark.parametrize("name", STORED)
def test_png_pixels_that_are_not_whole(name: str, change: Callable[[bytes], bytes]) -> None:
    data = encoded(STORED[name], "png")
    assert refusal(with_pixels(data, change), "png") == "unreadable_image"


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT", b"tEXt", b"IEND"])
def test_png_checksums_of_all_chunks_are_checked(kind: bytes) -> None:
    image = Image.fromarray(GREY % 200).convert("P")
    whole = chunks(saved(image, "png"))
    data = png([*whole[:-1], (b"tEXt", b"Comment\0fine"), whole[-1]])
    assert pixels(data, "png").shape == (64, 96, 3)
    at = data.index(kind)
    length = int.from_bytes(data[at - 4 : at])
    damaged = bytearray(data)
    damaged[at + 4 + length] ^= 1
    assert refusal(bytes(damaged), "png") == "unreadable_image"


def test_png_without_its_end_is_refused() -> None:
    data = encoded(GREY, "png")
    assert refusal(data[:-12], "png") == "unreadable_image"
    assert refusal(data[:-1], "png") == "unreadable_image"


def test_png_with_something_behind_its_end_is_decoded() -> None:
    assert np.array_equal(pixels(encoded(GREY, "png") + b"trailer", "png"), GREY / 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("shape", [(8, 8), (9, 13), (64, 96), (65, 97)])
def test_whole_png_of_every_shape_are_decoded(mode: str, shape: tuple[int, int]) -> None:
    assert pixels(encoded(noise(*shape), "png", mode), "png").shape[:2] == shape
    assert pixels(interlaced(noise(*shape)), "png").shape == shape


def test_whole_png_of_16_bit_colour_is_decoded() -> None:
    assert pixels(png_16(noise(9, 11, 3, dtype="u2")), "png").shape == (9, 11, 3)


def interlaced(array: Any) -> bytes:
    """A PNG of Adam7 passes, each without filter."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [
        b"\0" + row.tobytes()
        for left, top, across, down in passes
        for row in array[top::down, left::across]
        if row.size
    ]
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 8, 0, 0, 0, 1)
    return png([(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")])


def test_interlaced_png_is_decoded_whole_or_refused() -> None:
    array = noise(21, 35)
    assert np.array_equal(pixels(interlaced(array), "png"), array / 255)
    assert refusal(with_pixels(interlaced(array), rows_missing), "png") == "unreadable_image"


def test_an_index_behind_the_end_of_a_palette_is_refused() -> None:
    """Pillow takes it for black."""
    image = Image.fromarray(GREY % 4).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 128])
    parts = chunks(saved(image, "png"))
    assert pixels(png(parts), "png").shape == (64, 96, 3)
    shorter = [(kind, part[:9] if kind == b"PLTE" else part) for kind, part in parts]
    assert refusal(png(shorter), "png") == "unreadable_image"


# -- JPEG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grey", "colour"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}, {"subsampling": 0}],
    ids=["baseline", "progressive", "optimized", "restarts", "4:4:4"],
)
@pytest.mark.parametrize("fault", ["cut", "cut with end marker", "zeros", "zeros at the end"])
def test_damaged_jpeg(name: str, options: dict[str, Any], fault: str) -> None:
    data = encoded(STORED[name], "jpeg", quality=95, **options)
    expected = np.asarray(Image.open(io.BytesIO(data))) / 255
    assert np.array_equal(pixels(data, "jpeg"), expected)
    damaged = {
        "cut": data[: len(data) * 2 // 5],
        "cut with end marker": data[: len(data) * 2 // 5] + b"\xff\xd9",
        "zeros": zeroed(data, len(data) // 2, 200),
        "zeros at the end": data[:-400] + bytes(398) + b"\xff\xd9",
    }[fault]
    assert refusal(damaged, "jpeg") == "unreadable_image"


def test_jpeg_with_something_behind_its_end_is_decoded() -> None:
    data = encoded(GREY, "jpeg")
    assert np.array_equal(pixels(data + b"trailer", "jpeg"), pixels(data, "jpeg"))


# -- TIFF --------------------------------------------------------------------------------------------------------------


def strip(data: bytes) -> tuple[int, int]:
    tags = Image.open(io.BytesIO(data)).tag_v2  # type: ignore[attr-defined]
    return tags[273][0], tags[279][0]


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("compression", ["tiff_deflate", "tiff_adobe_deflate", "tiff_lzw", "packbits", "jpeg"])
@pytest.mark.parametrize("fault", ["zeros in the middle", "zero tail", "cut"])
def test_damaged_tiff(name: str, compression: str, fault: str) -> None:
    if (name, compression) == ("deep", "jpeg"):
        return  # there is no such file
    data = encoded(STORED[name], "tiff", compression=compression)
    start, length = strip(data)
    assert pixels(data, "tiff").shape[:2] == (64, 96)
    damaged = {
        "zeros in the middle": zeroed(data, start + length // 2, 200),
        "zero tail": zeroed(data, start + length - 300, 300),
        "cut": data[: start + length // 2],
    }[fault]
    assert refusal(damaged, "tiff") == "unreadable_image"


@pytest.mark.parametrize("count", [2, 4, 60])
@pytest.mark.parametrize("compression", ["tiff_deflate", "tiff_lzw"])
def test_the_shortest_zero_tail_of_a_tiff_is_noticed(compression: str, count: int) -> None:
    data = encoded(GREY, "tiff", compression=compression)
    start, length = strip(data)
    assert refusal(zeroed(data, start + length - count, count), "tiff") == "unreadable_image"


@pytest.mark.parametrize("compression", [None, "tiff_deflate", "tiff_lzw", "packbits"])
@pytest.mark.parametrize("name", STORED)
def test_whole_tiff_is_decoded_exactly(name: str, compression: str | None) -> None:
    stored = STORED[name]
    options: list[dict[str, Any]] = [{}, {"tiffinfo": {278: 10}}, {"tiffinfo": {278: 64}}]
    for option in options:
        data = encoded(stored, "tiff", compression=compression, **option)
        assert np.array_equal(pixels(data, "tiff"), stored / np.iinfo(stored.dtype).max)


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
def test_tiff_compressions_whose_damage_is_not_told_are_refused(compression: str) -> None:
    assert refusal(encoded(GREY, "tiff", compression=compression), "tiff") == "unsupported_pixels"


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_of_both_byte_orders_and_polarities(order: str, white_is_zero: bool, deflate: bool) -> None:
    data = tiff_16(DEEP, order=order, white_is_zero=white_is_zero, deflate=deflate)
    expected = 65535 - DEEP if white_is_zero else DEEP
    decoded = decode(data, "tiff", max_pixels=LIMIT)
    assert np.array_equal(decoded.pixels.squeeze(), expected / 65535)
    assert decoded.sha256 == decode(tiff_16(expected), "tiff", max_pixels=LIMIT).sha256
