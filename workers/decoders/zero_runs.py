"""Zeroed parts of a codestream, which decode without complaint but which no encoder writes.

Disks and transfers that lose a block leave zeros. A code of zeros is valid; its meaning decides whether an
encoder would repeat it for long: "nothing changes here" occurs in every blank background, "another coefficient of the
same value" for thousands of coefficients does not.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from certrad.models.errors import Rejected
from certrad.workers.decoders.codestream import SOS, Codestream, jpeg_segments

_RUN: Final = 64  # zero bytes: at least two blocks of 63 equal coefficients
_DHT: Final = 0xC4
_AC_TABLES: Final = 0x10
_SIZE: Final = 0x0F  # of a coefficient, in the symbol of an AC code; 0 for symbols that end a block or skip zeros
_OWN_PRECINCTS: Final = 1
_RAW_OR_HIGH_THROUGHPUT: Final = 0x41  # code-block styles of which some bits are not arithmetically coded


def check_zero_runs(data: bytes, stream: Codestream) -> None:
    """Checks that no part of the coded data has been replaced by zeros, as far as that can be detected.

    Args:
        data: A JPEG or JPEG 2000 codestream.
        stream: Its header.

    Raises:
        Rejected: `unreadable_image`, a part was replaced.
    """
    match stream.process:
        case "jpeg":
            zeroed = any(bytes(_RUN) in coded for coded in _scans_without_zeros(data))
        case "jpeg_2000":
            longest = _longest_of_jpeg_2000(stream)
            zeroed = longest is not None and bytes(longest + 1) in data
        case _:
            zeroed = False
    if zeroed:
        raise Rejected("unreadable_image", "a part of the codestream has been replaced by zeros")


def _scans_without_zeros(data: bytes) -> Iterator[bytes]:
    """Yields the coded data of scans in which zeros stand for coefficients other than zero."""
    zero_symbols: dict[int, int] = {}
    for marker, body, coded in jpeg_segments(data):
        if marker == _DHT:
            zero_symbols |= _zero_symbols(body)
        elif marker == SOS and _codes_coefficients(body, zero_symbols):
            yield coded


def _zero_symbols(body: bytes) -> dict[int, int]:
    """Returns for each Huffman table the symbol whose code is all zeros: the first, as codes are in order."""
    symbols, at = {}, 0
    while at < len(body):
        count = sum(body[at + 1 : at + 17])
        if count:
            symbols[body[at]] = body[at + 17]
        at += 17 + count
    return symbols


def _codes_coefficients(scan: bytes, zero_symbols: Mapping[int, int]) -> bool:
    components, first_pass = scan[0], scan[-1] >> 4 == 0
    tables = {_AC_TABLES | scan[2 + 2 * index] & 0x0F for index in range(components)}
    codes_ac = scan[-2] > 0 and first_pass
    return codes_ac and any(zero_symbols.get(table, 0) & _SIZE for table in tables)


def _longest_of_jpeg_2000(stream: Codestream) -> int | None:
    """Returns the most zero bytes that empty packets can make, or None where zeros may be coded in other ways too."""
    own, _order, layers, _together, levels, _width, _height, style = struct.unpack_from(">BBHBBBBB", stream.coding)
    if own & _OWN_PRECINCTS or style & _RAW_OR_HIGH_THROUGHPUT:
        return None
    return _RUN + int(layers) * (int(levels) + 1) * stream.components * stream.tiles
