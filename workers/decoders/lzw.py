"""Checks that LZW data of a TIFF file end with an end code: libtiff stops once it has enough rows."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.errors import Rejected

_CLEAR: Final = 256
_END: Final = 257
_LONGER_FROM: Final = ((254, 10), (766, 11), (1790, 12))  # the place of a code after a clear code, and its bits
_AT_ONCE: Final = 4096  # a table has no more entries, so a clear code comes before


def check_end(data: bytes) -> None:
    """Checks that the codes lead from clear code to clear code up to an end code with nothing behind it.

    Args:
        data: A strip or tile, packed with the first bit highest, as all but the oldest writers do.

    Raises:
        Rejected: `unreadable_image`, the end code is missing or not at the end.
    """
    widths = np.full(_AT_ONCE, 9)
    for place, width in _LONGER_FROM:
        widths[place:] = width
    starts = np.concatenate([[0], np.cumsum(widths)[:-1]])
    padded = np.frombuffer(data + bytes(4), dtype=np.uint8).astype(np.int64)
    at, last = 9 if _codes(padded, np.array([0]), np.array([9]))[0] == _CLEAR else 0, 8 * len(data)
    while True:
        fits = at + starts + widths <= last
        codes = _codes(padded, at + starts[fits], widths[fits])
        marks = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if not marks.size:
            raise Rejected("unreadable_image", "the TIFF file is damaged: LZW data have no end code")
        mark = int(marks[0])
        at += int(starts[mark] + widths[mark])
        if codes[mark] == _END:
            break
    if last - at >= 16 and any(data[at // 8 + 1 :]):
        raise Rejected("unreadable_image", "the TIFF file is damaged: LZW data go on after their end code")


def _codes(padded: NDArray[np.int64], at: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the codes of these widths that begin at these bits; a code lies within three bytes."""
    first = at // 8
    three = (padded[first] << 16) | (padded[first + 1] << 8) | padded[first + 2]
    return (three >> (24 - at % 8 - widths)) & ((1 << widths) - 1)
