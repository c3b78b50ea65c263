"""Lookup tables of DICOM files: the signs and widths of their numbers, which files state in several ways."""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from certrad.models.errors import Rejected
from certrad.workers.decoders.grayscale import Table

_WORD: Final = 0xFFFF
_SIGN: Final = 0x8000
_ALL_ENTRIES: Final = 1 << 16  # of which the descriptor says 0


def read_table(kind: Literal["modality_lut", "voi_lut"], item: Dataset, *, signed_input: bool) -> Table:
    """Returns the table of an item of a Modality or VOI LUT Sequence.

    Entries are unsigned, whatever their value representation; so are the first and third number of the descriptor
    (PS3.3 C.11.1.1.1, C.11.2.1.1). Entries of up to 8 bits may lie in a byte each.

    Args:
        kind: Which of the two sequences.
        item: The item, with LUT Descriptor and LUT Data.
        signed_input: Whether the table is applied to values that may be negative; then its first value may be, too.

    Raises:
        Rejected: `unsupported_pixels`, entries are missing or larger than the descriptor says.
    """
    entries, first, bits = (int(value) & _WORD for value in item.LUTDescriptor)
    if signed_input and first & _SIGN:
        first -= _WORD + 1
    values = _entries(item, entries or _ALL_ENTRIES, bits)
    table = Table(kind, first, values.astype(np.float64), bits)
    if int(values.max()) > table.peak:
        raise Rejected("unsupported_pixels", f"a lookup table of {bits} bits must have no larger entry")
    return table


def uses_fewer_bits(table: Table) -> bool:
    """Returns whether no entry needs all the bits of the descriptor, so that images are at most half as bright.

    The standard allows it, but writers often do it by mistake.

    Args:
        table: The table.
    """
    return float(table.values.max()) < (table.peak + 1) / 2


def _entries(item: Dataset, count: int, bits: int) -> NDArray[np.uint16]:
    words = _bytes_in_little_endian(item)
    if len(words) >= 2 * count:
        return np.frombuffer(words, dtype="<u2", count=count)
    if bits <= 8 and len(words) in (count, count + 1):
        return np.frombuffer(words, dtype=np.uint8, count=count).astype(np.uint16)
    raise Rejected("unsupported_pixels", f"a lookup table must have {count} entries, got {len(words)} bytes")


def _bytes_in_little_endian(item: Dataset) -> bytes:
    data: Any = item.LUTData
    if not isinstance(data, bytes):
        return (np.atleast_1d(np.asarray(data, dtype=np.int64)) & _WORD).astype("<u2").tobytes()
    if item.original_encoding[1] or item["LUTData"].VR == "OB":
        return data
    return np.frombuffer(data, dtype=">u2").astype("<u2").tobytes()
