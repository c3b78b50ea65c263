"""Bodies of STOW-RS requests, and instances to put into them."""

from collections.abc import Iterator

from tests.support.fake_pacs import meta_element

BOUNDARY = "a boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"


def instance(uid: str, filler: bytes = b"", *, sop_class: str = DIGITAL_X_RAY) -> bytes:
    """A DICOM file with nothing but its file meta information and some bytes."""
    meta = meta_element(2, b"UI", sop_class.encode()) + meta_element(3, b"UI", uid.encode())
    return b"\0" * 128 + b"DICM" + meta + filler


def body(*parts: bytes, media_type: str = "application/dicom", end: bool = True) -> bytes:
    """A multipart/related body."""
    head = f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    """A body in pieces: a client sends such a one without its length."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def chunked(content: bytes, size: int = 1000) -> bytes:
    """A body in the chunks of HTTP/1.1."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces(content, size)) + b"0\r\n\r\n"
