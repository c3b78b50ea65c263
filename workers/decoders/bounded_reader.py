"""Bounds how many elements of a DICOM file are parsed, at any depth of its sequences."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from certrad.models.errors import Rejected

READS_MAX: Final = 1 << 19
"""One element takes pydicom one to three reads. A multi-frame header takes about 100 reads for each frame."""


class _BoundedReader(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > READS_MAX:
            raise EOFError
        return super().read(size)


@contextmanager
def bounded_reader(data: bytes) -> Iterator[io.BytesIO]:
    """Yields a file in memory for pydicom, which parses sequences of undefined length even where it skips them.

    Args:
        data: The bytes of the file.

    Raises:
        Rejected: `dicom_unsupported`, more was read than `READS_MAX` times.
    """
    reader = _BoundedReader(data)
    try:
        yield reader
    finally:  # pydicom may turn the end into an error of its own, or take it for that of the file
        if reader.reads > READS_MAX:
            raise Rejected("dicom_unsupported", "the file has too many elements before its pixels")
