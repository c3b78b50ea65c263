"""The store of certificate documents, their envelopes and time stamps: a file is there completely or not at all."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from certrad.models.files import create_file, replace_file
from certrad.workers.contract.certificate_files import CertificateFile, path

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def store_certificate(
    certificates_dir: Path, document: bytes, envelopes: Mapping[CertificateFile, bytes] | None = None
) -> str:
    """Stores a document under its SHA-256; after a power cut all of it is there, or nothing.

    The envelopes are stored first: where a document is, they are too, unless an earlier release issued it.

    Args:
        certificates_dir: The folder of the store.
        document: The signed document.
        envelopes: The same document in other forms.

    Returns:
        The SHA-256, in hexadecimal.

    Raises:
        OSError: The disk refuses.
    """
    digest = hashlib.sha256(document).hexdigest()
    for kind, content in {**(envelopes or {}), "document": document}.items():
        file = path(certificates_dir, digest, kind)
        if not file.exists():
            replace_file(file, content)
    return digest


def store_time_stamp(certificates_dir: Path, sha256: str, stamp: bytes) -> None:
    """Stores the time stamp of a document; one that is there stays, for it proves an earlier time.

    Args:
        certificates_dir: The folder of the store.
        sha256: SHA-256 of the document.
        stamp: The response of the authority.

    Raises:
        OSError: The disk refuses.
        ValueError: The digest is none.
    """
    if not _SHA256.fullmatch(sha256):
        raise ValueError("the SHA-256 of a document must be 64 hexadecimal digits")
    create_file(path(certificates_dir, sha256, "time_stamp"), stamp)
