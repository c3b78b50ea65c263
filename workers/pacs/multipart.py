"""The multipart/related bodies of DICOMweb: one instance in, one instance out; and the UID of an instance."""

import re
import secrets
from typing import Final

from certrad.workers.contract.file_meta import read_identity
from certrad.workers.pacs.failures import ExchangeError

_BOUNDARY: Final = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
_PREAMBLE: Final = 128


def only_part(content_type: str, body: bytes) -> bytes:
    """Returns the one instance in the body of an answer.

    Args:
        content_type: The header of the answer.
        body: All of it.

    Raises:
        ExchangeError: not_dicomweb, if it is not one DICOM file.
    """
    if content_type.split(";")[0].strip().lower() == "application/dicom":
        return _file(body)
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().startswith("multipart/related"):
        raise ExchangeError("not_dicomweb")
    delimiter = b"--" + (match[1] or match[2]).encode()
    start = body.find(delimiter)
    # The parts end at a line of their own; the length of the first one may be unknown, so the last delimiter counts.
    end = body.rfind(b"\r\n" + delimiter)
    head = body.find(b"\r\n\r\n", start)
    if start < 0 or head < 0 or end < head:
        raise ExchangeError("not_dicomweb")
    return _file(body[head + 4 : end])


def one_part(content: bytes) -> tuple[str, bytes]:
    """Returns the header `Content-Type` and the body that carry one instance."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join((head, content, f"\r\n--{boundary}--\r\n".encode()))
    return f'multipart/related; type="application/dicom"; boundary={boundary}', body


def instance_uid(content: bytes) -> str:
    """Returns the UID that the file meta information of a DICOM file names.

    Raises:
        ExchangeError: not_dicomweb, if there is none.
    """
    if (identity := read_identity(content)) is None:
        raise ExchangeError("not_dicomweb")
    return identity.sop_instance


def _file(content: bytes) -> bytes:
    if content[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise ExchangeError("not_dicomweb")
    return content
