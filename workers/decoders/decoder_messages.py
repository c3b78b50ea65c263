"""Messages of GDCM's libjpeg and Pillow's libtiff: on damage both write to standard error and go on."""

import os
from collections.abc import Callable
from typing import Final, TypeVar

from certrad.models.errors import Rejected

Result = TypeVar("Result")

_STANDARD_ERROR: Final = 2
_MOST_READ: Final = 1 << 16  # what a pipe holds
_OF_DAMAGE: Final = (b"Corrupt JPEG data", b"Premature end of JPEG file", b"Decode: ", b"Decode1D: ", b"Decode2D: ")


def heed_messages(decode: Callable[[], Result]) -> Result:
    """Returns the result of `decode`, unless a library reports damage meanwhile; passes other messages on.

    Args:
        decode: Decodes an image by code that writes to the standard error of this process.

    Raises:
        Rejected: `unreadable_image`, a library reported damage.
    """
    source, sink = os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(sink, False)  # what does not fit is lost, which is better than to wait for ever
    before = os.dup(_STANDARD_ERROR)
    os.dup2(sink, _STANDARD_ERROR)
    try:
        result = decode()
    finally:
        os.dup2(before, _STANDARD_ERROR)
        os.close(before)
        os.close(sink)
        said = _read(source)
        os.close(source)
    if any(message in said for message in _OF_DAMAGE):
        raise Rejected("unreadable_image", "the compressed data are damaged: bytes are missing or left over")
    if said:
        os.write(_STANDARD_ERROR, said)
    return result


def _read(source: int) -> bytes:
    try:
        return os.read(source, _MOST_READ)
    except BlockingIOError:
        return b""
