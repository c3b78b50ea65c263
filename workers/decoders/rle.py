"""Checks that an RLE frame (PS3.5 annex G) is whole; its bytes carry neither sizes nor a checksum."""

import struct
from itertools import pairwise
from typing import Final

from certrad.models.errors import Rejected

_HEADER: Final = struct.Struct("<16I")
_NO_OPERATION: Final = 128
_LONELY_ZEROS_MAX: Final = 16  # runs of one zero each; encoders write one run of 16 zeros


def check_runs(frame: bytes, *, rows: int, columns: int, planes: int) -> None:
    """Checks that each plane of bytes has exactly the rows and columns of the header.

    Each row is encoded separately (PS3.5 G.3.1), so a run that crosses the end of a row shows that the rows are of
    another length than the header says, or that bytes are damaged.

    Args:
        frame: The segments of a frame, with their header.
        rows: Rows of the image.
        columns: Columns of the image.
        planes: Bytes of a pixel, each of which is a segment.

    Raises:
        Rejected: unreadable_image.
    """
    if len(frame) < _HEADER.size:
        raise _broken("has no header")
    count, *offsets = _HEADER.unpack_from(frame)
    if count != planes:
        raise _broken(f"has {count} segments, but the header announces {planes}")
    bounds = [*offsets[:count], len(frame)]
    for start, end in pairwise(bounds):
        if not _HEADER.size <= start <= end <= len(frame):
            raise _broken("has a malformed table of segments")
        check_segment(frame[start:end], rows=rows, columns=columns)


def check_segment(segment: bytes, *, rows: int, columns: int) -> None:
    """Checks that a segment, packed as PackBits of TIFF, unpacks to these rows, and only padding follows.

    Args:
        segment: The packed bytes.
        rows: Rows of the image.
        columns: Bytes of a row.

    Raises:
        Rejected: unreadable_image.
    """
    at, left, rows_left, zeros = 0, columns, rows, 0
    while rows_left:
        if at >= len(segment):
            raise _broken("ends early")
        head = segment[at]
        zeros = zeros + 1 if segment[at : at + 2] == b"\0\0" else 0
        if zeros == _LONELY_ZEROS_MAX:
            raise _broken("has a part that is replaced by zeros")
        if head < _NO_OPERATION:
            run, at = head + 1, at + 2 + head
        elif head > _NO_OPERATION:
            run, at = 257 - head, at + 2
        else:
            run, at = 0, at + 1
        if run > left or at > len(segment):
            raise _broken("has a run beyond the end of a row")
        left -= run
        if not left:
            left, rows_left = columns, rows_left - 1
    if any(segment[at:]):
        raise _broken("goes on after the last row")


def _broken(what: str) -> Rejected:
    return Rejected("unreadable_image", f"the RLE stream {what}")
