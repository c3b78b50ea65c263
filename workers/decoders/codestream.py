"""Headers of JPEG, JPEG-LS and JPEG 2000 codestreams, read before anything is decoded.

A codestream says its own size, number of components and precision. Decoders believe it, and a reader of DICOM believes
the header of the file; where the two differ, the pixels would be put together in a wrong shape without a word.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from certrad.models.errors import Rejected

Process = Literal["jpeg", "jpeg_lossless", "jpeg_ls", "jpeg_2000"]

_FRAMES: Final[dict[int, Process]] = {
    0xC0: "jpeg",  # baseline
    0xC1: "jpeg",  # extended
    0xC2: "jpeg",  # progressive
    0xC3: "jpeg_lossless",
    0xF7: "jpeg_ls",
}
_OTHER_FRAMES: Final = {0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # hierarchical and arithmetic
SOS: Final = 0xDA
_EOI, _APP0, _APP14 = 0xD9, 0xE0, 0xEE
_SIZ, _COD, _COC, _SOT, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFFD9
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_IRREVERSIBLE: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """The header of a codestream.

    Attributes:
        process: Kind of codestream.
        rows: Rows of the image.
        columns: Columns of the image.
        components: Number of components.
        precision: Bits of a sample.
        lossy: Whether the coding loses something (transform, near-lossless, point transform), whatever a file calls it.
        identifiers: Identifier of each component, as the frame header of the JPEG family has them.
        sampling: Sampling factors of each component, as the frame header of the JPEG family has them.
        jfif: Whether there is a JFIF marker.
        adobe_transform: Colour transform of the Adobe marker; None without such a marker.
        signed: Whether the components of JPEG 2000 are signed.
        colour_transform: Whether JPEG 2000 transforms the components together.
        tiles: Number of tiles of JPEG 2000.
        coding: The COD segment of JPEG 2000.
    """

    process: Process
    rows: int
    columns: int
    components: int
    precision: int
    lossy: bool
    identifiers: bytes = b""
    sampling: bytes = b""
    jfif: bool = False
    adobe_transform: int | None = None
    signed: bool = False
    colour_transform: bool = False
    tiles: int = 1
    coding: bytes = b""

    @property
    def subsampled(self) -> bool:
        """Returns whether components are of different sizes."""
        return len(set(self.sampling)) > 1


def read_codestream(data: bytes) -> Codestream:
    """Returns the header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Args:
        data: The codestream from its first marker on, or a JP2 file.

    Raises:
        Rejected: unreadable_image when there is no such header, or it ends early; unsupported_pixels for codestreams
            without one size or one precision, hierarchical, or arithmetically coded.
    """
    try:
        return _jpeg(data) if data[:2] == b"\xff\xd8" else _jpeg_2000(_unboxed(data))
    except (struct.error, IndexError) as error:
        raise _broken("ends within its header") from error


def _jpeg(data: bytes) -> Codestream:
    segments = list(jpeg_segments(data))
    frames = [(marker, body) for marker, body, _ in segments if marker in _FRAMES or marker in _OTHER_FRAMES]
    if len(frames) != 1:
        raise _broken(f"has {len(frames)} frame headers")
    marker, body = frames[0]
    if marker in _OTHER_FRAMES:
        raise Rejected("unsupported_pixels", "hierarchical and arithmetically coded JPEG is not supported")
    process = _FRAMES[marker]
    precision, rows, columns, components = struct.unpack_from(">BHHB", body)
    if len(body) != 6 + 3 * components or not components or not rows or not columns:
        raise _broken("has a malformed frame header")
    scans = [scan for marker, scan, _ in segments if marker == SOS]
    if not scans:
        raise _broken("has no scan")
    adobe = [body[11] for marker, body, _ in segments if marker == _APP14 and body[:5] == b"Adobe" and len(body) > 11]
    return Codestream(
        process=process,
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        lossy=any(_scan_loses(process, scan) for scan in scans),
        identifiers=body[6::3],
        sampling=body[7::3],
        jfif=any(marker == _APP0 and body[:5] == b"JFIF\0" for marker, body, _ in segments),
        adobe_transform=adobe[-1] if adobe else None,
    )


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields each marker of the JPEG family up to the end marker, its segment, and the coded data that follow a scan.

    Args:
        data: The codestream from its first marker on.

    Raises:
        Rejected: unreadable_image when segments do not follow each other up to the end marker.
    """
    at = 2
    while at + 1 < len(data):
        if data[at] != 0xFF:
            raise _broken("has bytes between its segments")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _EOI:
            return
        length = struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise _broken("ends within a segment")
        coded, at = at + 2 + length, at + 2 + length
        if marker == SOS:
            at = _next_marker(data, at)
        yield marker, body, data[coded:at]
    raise _broken("has no end marker")


def _next_marker(data: bytes, at: int) -> int:
    """Returns where the next marker is that ends entropy-coded data.

    Stuffed bytes and restart markers do not end them; JPEG-LS stuffs single bits.
    """
    while (at := data.find(b"\xff", at)) != -1 and at + 1 < len(data):
        if data[at + 1] >= 0x80 and not 0xD0 <= data[at + 1] <= 0xD7 and data[at + 1] != 0xFF:
            return at
        at += 1
    return len(data)


def _scan_loses(process: Process, body: bytes) -> bool:
    start, _end, approximation = body[-3:]
    match process:
        case "jpeg":
            return True
        case "jpeg_ls":
            return start > 0  # NEAR
        case _:
            return approximation & 0x0F > 0  # the point transform drops low bits


def _unboxed(data: bytes) -> bytes:
    """Returns the codestream of a JP2 file, or the data itself."""
    if data[4:8] != b"jP  ":
        return data
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        end = len(data) if length == 0 else at + length
        if kind == b"jp2c":
            return data[at + head : end]
        if end <= at:
            break
        at = end
    raise _broken("has no JPEG 2000 codestream")


def _jpeg_2000(data: bytes) -> Codestream:
    if data[:4] != _SOC_SIZ:
        raise _broken("does not begin like JPEG, JPEG-LS or JPEG 2000")
    x, y, left, top, tile_x, tile_y, tiles_left, tiles_top, components = struct.unpack_from(">8IH", data, 8)
    described = [struct.unpack_from("3B", data, 42 + 3 * index) for index in range(min(components, 4))]
    if not components or not tile_x or not tile_y or x <= left or y <= top:
        raise _broken("has a malformed size")
    if len(set(described)) != 1 or described[0][1:] != (1, 1):
        raise Rejected("unsupported_pixels", "JPEG 2000 components must have one size and one precision")
    columns, rows = x - left, y - top
    tiles = -((tiles_left - x) // tile_x) * -((tiles_top - y) // tile_y)
    coding, wavelets = _coding(data, 4 + struct.unpack_from(">H", data, 4)[0])
    return Codestream(
        process="jpeg_2000",
        rows=rows,
        columns=columns,
        components=components,
        precision=(described[0][0] & 0x7F) + 1,
        signed=bool(described[0][0] & 0x80),
        lossy=_IRREVERSIBLE in wavelets,
        coding=coding,
        colour_transform=bool(coding[4]),
        tiles=tiles,
    )


def _coding(data: bytes, at: int) -> tuple[bytes, set[int]]:
    """Returns the COD segment and the wavelets of all components; checks all lengths."""
    coding, wavelets = b"", set()
    while (marker := struct.unpack_from(">H", data, at)[0]) != _SOT:
        length = struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : at + 2 + length]
        if marker >> 8 != 0xFF or length < 2:
            raise _broken("has a malformed header")
        if marker == _COD:
            coding = body
            wavelets.add(body[9])
        elif marker == _COC:  # the number of a component, of one byte up to 256 of them, then as COD
            wavelets.add(body[6])
        at += 2 + length
    if not coding:
        raise _broken("does not say how it is coded")
    _check_tile_parts(data, at)
    return coding, wavelets


def _check_tile_parts(data: bytes, at: int) -> None:
    """Raises Rejected unless the tile-parts fill the codestream up to its end marker."""
    while struct.unpack_from(">H", data, at)[0] == _SOT:
        length = struct.unpack_from(">I", data, at + 6)[0]
        if length == 0:  # the last tile-part reaches up to the end marker
            at = data.rfind(_EOC.to_bytes(2), at)
            break
        at += max(length, 12)
    if at < 0 or struct.unpack_from(">H", data, at)[0] != _EOC:
        raise _broken("has bytes between its tiles, or no end marker")


def _broken(what: str) -> Rejected:
    return Rejected("unreadable_image", f"the codestream {what}")
