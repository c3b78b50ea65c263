"""Detects the format of an image from its first bytes; declared types and file names play no role."""

from typing import Final, Literal

ImageFormat = Literal["png", "jpeg", "tiff", "dicom"]

SNIFFED_BYTES: Final = 132
ZIP_SIGNATURE: Final = b"PK\x03\x04"
_SIGNATURES: Final[tuple[tuple[bytes, int, ImageFormat], ...]] = (
    (b"\x89PNG\r\n\x1a\n", 0, "png"),
    (b"\xff\xd8\xff", 0, "jpeg"),
    (b"II*\x00", 0, "tiff"),
    (b"MM\x00*", 0, "tiff"),
    (b"DICM", 128, "dicom"),
)


def sniff(head: bytes) -> ImageFormat | None:
    """Returns the format of a file from its first 132 bytes, or None if it is none of the four.

    It tests for DICOM first, because a DICOM file's 128-byte preamble is free and may imitate a TIFF.
    """
    for signature, offset, image_format in reversed(_SIGNATURES):
        if head[offset : offset + len(signature)] == signature:
            return image_format
    return None
