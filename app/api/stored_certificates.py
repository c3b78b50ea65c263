"""Certificate documents as they are stored, by their digest."""

import hashlib
import re
from pathlib import Path
from typing import Final

from certrad.models.errors import Rejected

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def read_certificate(directory: Path, sha256: str) -> bytes:
    """Returns a document, byte for byte.

    Args:
        directory: The folder of the documents.
        sha256: The digest as the client gave it.

    Raises:
        Rejected: certificate_not_found, digest_mismatch.
    """
    if not _SHA256.fullmatch(sha256):
        raise Rejected("certificate_not_found", "a digest must be 64 lowercase hexadecimal digits")
    try:
        content = (directory / f"{sha256}.json").read_bytes()
    except FileNotFoundError:
        raise Rejected("certificate_not_found", "no certificate has this digest") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Rejected("digest_mismatch", "the stored certificate has another digest")
    return content
