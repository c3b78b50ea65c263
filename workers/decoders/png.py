"""Checks that a PNG file is whole: its chunks, their checksums, and the number of pixel bytes.

Decoders stop at the last row they need and look neither at checksums behind it nor at rows that are missing.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from certrad.models.errors import Rejected

_SIGNATURE: Final = 8
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_AT_ONCE: Final = 1 << 20


def check_intact(data: bytes) -> None:
    """Checks every chunk's checksum up to the end chunk, and that the pixels inflate to their exact length.

    Args:
        data: A PNG file whose size has been checked.

    Raises:
        Rejected: `unreadable_image`, the file is damaged.
    """
    pixels = zlib.decompressobj()
    inflated, header = 0, b""
    for kind, body in _chunks(data):
        if kind == b"IHDR":
            header = bytes(body)
        elif kind == b"IDAT":
            inflated += _inflate(pixels, body)
    if not pixels.eof or pixels.unused_data:
        raise _broken("the pixels end early or go on after their end")
    if inflated != _expected(header):
        raise _broken(f"the header announces {_expected(header)} bytes of pixels, got {inflated}")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    at = _SIGNATURE
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = memoryview(data)[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if zlib.crc32(body, zlib.crc32(kind)).to_bytes(4) != checksum:
            raise _broken("a checksum is wrong")
        if kind == b"IEND":
            return
        yield kind, body
        at += 12 + length
    raise _broken("the end chunk is missing")


def _inflate(pixels: "zlib._Decompress", body: bytes | memoryview) -> int:
    """Returns how many bytes the chunk inflates to; holds only a part of them at once."""
    count = 0
    rest: bytes | memoryview = body
    try:
        while rest and not pixels.eof:
            count += len(pixels.decompress(rest, _AT_ONCE))
            rest = pixels.unconsumed_tail
        if rest:
            raise _broken("the pixels go on after their end")
        while not pixels.eof and (more := pixels.decompress(b"", _AT_ONCE)):
            count += len(more)
    except zlib.error as error:
        raise _broken("the pixels cannot be inflated") from error
    return count


def _expected(header: bytes) -> int:
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS[colour]
    if not interlaced:
        return _rows(width, height, bits)
    return sum(
        _rows((width - left + across - 1) // across, (height - top + down - 1) // down, bits)
        for left, top, across, down in _PASSES
    )


def _rows(width: int, height: int, bits: int) -> int:
    """Returns the bytes of a pass: each row has one more for its filter, and a pass without columns has no rows."""
    return height * (1 + (width * bits + 7) // 8) if width > 0 else 0


def _broken(why: str) -> Rejected:
    return Rejected("unreadable_image", f"the PNG file is damaged: {why}")
