"""The store of certificate documents: a file is there completely or not at all."""

import hashlib
import re
from pathlib import Path
from typing import Final

from certrad.models.files import replace_file

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


def store_certificate(certificates_dir: Path, document: bytes) -> str:
    """Stores a document under its SHA-256; after a power cut all of it is there, or nothing.

    Args:
        certificates_dir: The folder of the store.
        document: The signed document.

    Returns:
        The SHA-256, in hexadecimal.

    Raises:
        OSError: The disk refuses.
    """
    digest = hashlib.sha256(document).hexdigest()
    path = _path(certificates_dir, digest, suffix=".json")
    if not path.exists():
        replace_file(path, document)
    return digest


def _path(folder: Path, name: str, suffix: str = "") -> Path:
    if not _NAME.fullmatch(name):
        raise ValueError("a file name here must be 1..100 letters, digits and dashes")
    return folder / f"{name}{suffix}"
