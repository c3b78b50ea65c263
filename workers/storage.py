"""What intake keeps on disk: uploads until their job ends, and content-addressed certificate documents."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


def read_blob(blobs_dir: Path, job_id: str) -> bytes:
    """The upload of a job; raises FileNotFoundError when it is gone."""
    return _path(blobs_dir, job_id).read_bytes()


def delete_blob(blobs_dir: Path, job_id: str) -> None:
    """Deletes the upload of a job; doing so twice is harmless."""
    _path(blobs_dir, job_id).unlink(missing_ok=True)


def store_certificate(certificates_dir: Path, document: bytes) -> str:
    """Stores a document under its SHA-256 and returns that; a power cut leaves all of it or nothing.

    Raises OSError when the disk refuses.
    """
    digest = hashlib.sha256(document).hexdigest()
    path = _path(certificates_dir, digest, suffix=".json")
    if not path.exists():
        certificates_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, document)
    return digest


def _write(path: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # raised again: no partial file stays
        os.unlink(partial)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the name may be lost with the power although the bytes are there
    finally:
        os.close(folder)


def _path(folder: Path, name: str, suffix: str = "") -> Path:
    if not _NAME.fullmatch(name):
        raise ValueError("a file name here must be 1..100 letters, digits and dashes")
    return folder / f"{name}{suffix}"
