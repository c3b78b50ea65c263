"""The identity of a DICOM file, read from its file meta information and from nothing behind it.

The File Meta Information is always in explicit VR little endian (PS3.10, 7.1). A few steps over lengths find what is
wanted, so the API needs no DICOM library and looks at no data set.
"""

from dataclasses import dataclass
from typing import Final

from certrad.workers.contract.triggers import is_uid

META_BYTES: Final = 16 << 10
"""Bytes of a file's beginning that are looked at: the two elements are among the first of the file meta information."""
_PREAMBLE: Final = 128
_MAGIC: Final = b"DICM"
_LONG_VR: Final = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"OD", b"OL", b"OV", b"UC", b"UR", b"SV", b"UV"})
_SOP_CLASS: Final = b"\x02\x00\x02\x00"
_SOP_INSTANCE: Final = b"\x02\x00\x03\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an instance is called: the UIDs of its class, which may be empty, and of itself."""

    sop_class: str
    sop_instance: str


def read_identity(start: bytes) -> Identity | None:
    """Returns the identity of a DICOM file; None if the bytes begin no such file, or it does not say one.

    Args:
        start: The first bytes of the file; what is beyond `META_BYTES` is not looked at.
    """
    found = {}
    position = _PREAMBLE + len(_MAGIC)
    start = start[:META_BYTES]
    if start[_PREAMBLE:position] != _MAGIC:
        return None
    while start[position : position + 2] == b"\x02\x00":
        tag = start[position : position + 4]
        long = start[position + 4 : position + 6] in _LONG_VR
        value = position + (12 if long else 8)
        length = int.from_bytes(start[value - 4 if long else value - 2 : value], "little")
        position = value + length
        if position > len(start):
            break
        found[tag] = start[value:position].rstrip(b"\0 ").decode("ascii", "replace")
    sop_class, sop_instance = found.get(_SOP_CLASS, ""), found.get(_SOP_INSTANCE, "")
    if not is_uid(sop_instance):
        return None
    return Identity(sop_class=sop_class if is_uid(sop_class) else "", sop_instance=sop_instance)
