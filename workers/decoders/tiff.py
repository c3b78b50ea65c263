"""Checks that the strips or tiles of a TIFF file are whole; libtiff stops at the last row, wherever that is.

Uncompressed, LZW, PackBits and CCITT data have no checksum: of their damage only wrong lengths show.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from PIL import TiffImagePlugin

from certrad.models.errors import Rejected
from certrad.workers.decoders import jpeg
from certrad.workers.decoders.codestream import read_codestream
from certrad.workers.decoders.lzw import check_end
from certrad.workers.decoders.rle import check_segment
from certrad.workers.decoders.zero_runs import check_zero_runs

PHOTOMETRIC: Final = TiffImagePlugin.PHOTOMETRIC_INTERPRETATION
_SEPARATE_PLANES: Final = 2
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_JPEG_TABLES: Final = 347
_UNCOMPRESSED, _LZW, _JPEG, _PACKBITS = 1, 5, 7, 32773
_CCITT: Final = {2, 3, 4}
_DEFLATE: Final = {8, 32946}
_SUPPORTED: Final = {_UNCOMPRESSED, _LZW, _JPEG, _PACKBITS, *_CCITT, *_DEFLATE}
_SHORT: Final = 3


@dataclass(frozen=True, slots=True)
class _Block:
    """A strip or tile: its compressed bytes, and the lengths it may inflate to."""

    data: bytes
    lengths: frozenset[int]


def check_intact(data: bytes, tags: Any) -> None:  # noqa: ANN401  # Pillow's directory of tags
    """Checks that each strip or tile inflates to as many bytes as its rows take, as far as its compression shows.

    Args:
        data: A TIFF file.
        tags: Its first directory, as Pillow reads it.

    Raises:
        Rejected: `unreadable_image`; `unsupported_pixels`, damage would not show with this compression.
    """
    compression = int(tags.get(TiffImagePlugin.COMPRESSION, _UNCOMPRESSED))
    if compression not in _SUPPORTED:
        raise Rejected("unsupported_pixels", f"TIFF compression {compression} is not supported")
    for block in _blocks(data, tags):
        if compression in _DEFLATE:
            _check_deflate(block)
        elif compression == _LZW:
            check_end(block.data)
        elif compression == _PACKBITS:
            _check_packbits(block)
        elif compression == _JPEG:
            _check_jpeg(block.data, bytes(tags.get(_JPEG_TABLES, b"")))


def without_inversion(data: bytes) -> tuple[bytes, bool]:
    """Returns a file from which Pillow reads 16-bit grey as stored, and whether its values must be inverted.

    Pillow reads 16-bit grey with white as zero in one byte order as it is stored, and in the other not at all.

    Args:
        data: A TIFF file.
    """
    order = "<" if data[:2] == b"II" else ">"
    places = dict(_short_entries(data, order))
    bits, photometric = (places.get(tag) for tag in (TiffImagePlugin.BITSPERSAMPLE, PHOTOMETRIC))
    if bits is None or photometric is None:
        return data, False
    if struct.unpack_from(f"{order}H", data, bits)[0] != 16 or struct.unpack_from(f"{order}H", data, photometric)[0]:
        return data, False
    patched = bytearray(data)
    struct.pack_into(f"{order}H", patched, photometric, 1)
    return bytes(patched), True


def _short_entries(data: bytes, order: str) -> Iterator[tuple[int, int]]:
    """Yields the tags of the first directory that have one 16-bit value, and where in the file that value is."""
    at = struct.unpack_from(f"{order}I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from(f"{order}H", data, at)[0], 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
        if (kind, count) == (_SHORT, 1):
            yield tag, entry + 8


def _blocks(data: bytes, tags: Any) -> Iterator[_Block]:  # noqa: ANN401
    width, height = int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags[TiffImagePlugin.IMAGELENGTH])
    bits = [int(value) for value in tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))]
    samples = int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
    planes = samples if int(tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1)) == _SEPARATE_PLANES else 1
    bits_of_a_pixel = bits[0] * samples // planes
    if _TILE_OFFSETS in tags:
        across, down = int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH])
        offsets, sizes = _numbers(tags[_TILE_OFFSETS]), _numbers(tags[_TILE_BYTES])
        of_a_plane = -(-width // across) * -(-height // down)
    else:
        across, down = width, min(height, int(tags.get(TiffImagePlugin.ROWSPERSTRIP, height)))
        offsets = _numbers(tags[TiffImagePlugin.STRIPOFFSETS])
        sizes = _numbers(tags[TiffImagePlugin.STRIPBYTECOUNTS])
        of_a_plane = -(-height // down)
    if len(offsets) != len(sizes) or len(offsets) != planes * of_a_plane:
        raise _broken(f"it must have {planes * of_a_plane} strips or tiles, got {len(offsets)}")
    row = (across * bits_of_a_pixel + 7) // 8
    for index, (start, size) in enumerate(zip(offsets, sizes, strict=True)):
        block = data[start : start + size]
        if len(block) != size:
            raise _broken("a strip or tile is cut off")
        rows = {down}  # some writers fill the last strip up
        if _TILE_OFFSETS not in tags and index % of_a_plane == of_a_plane - 1:
            rows.add(height - down * (of_a_plane - 1))
        yield _Block(block, frozenset(row * count for count in rows))


def _numbers(value: Any) -> Sequence[int]:  # noqa: ANN401
    return [int(number) for number in (value if isinstance(value, tuple | list) else (value,))]


def _check_deflate(block: _Block) -> None:
    inflater = zlib.decompressobj()
    try:
        length = len(inflater.decompress(block.data, max(block.lengths) + 1))
    except zlib.error as error:
        raise _broken("a strip or tile cannot be inflated") from error
    if not inflater.eof and not inflater.unconsumed_tail:  # the checksum may still be to come
        length += len(inflater.decompress(b"", 1))
    if not inflater.eof or length not in block.lengths:
        raise _broken("a strip or tile does not inflate to its rows")


def _check_packbits(block: _Block) -> None:
    for length in sorted(block.lengths, reverse=True):
        try:
            check_segment(block.data, rows=1, columns=length)
        except Rejected as rejected:
            refusal = rejected
        else:
            return
    raise _broken("a strip or tile does not unpack to its rows") from refusal


def _check_jpeg(block: bytes, tables: bytes) -> None:
    stream = tables[:-2] + block[2:] if tables else block
    header = read_codestream(stream)
    jpeg.check_intact(stream, components=header.components)
    check_zero_runs(stream, header)


def _broken(why: str) -> Rejected:
    return Rejected("unreadable_image", f"the TIFF file is damaged: {why}")
