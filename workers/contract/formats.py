"""The kind of an image by its first bytes; declared types and file names are never asked."""

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
    """The format of a file from its first 132 bytes, or None when it is none of the four.

    DICOM is asked first: its 128-byte preamble is free and may imitate a TIFF.
    """
    for signature, offset, image_format in reversed(_SIGNATURES):
        if head[offset : offset + len(signature)] == signature:
            return image_format
    return None
