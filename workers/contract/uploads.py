"""Uploads between API and intake: one file per job, readable by its owner only, gone when the job ends.

The images that intake makes of uploads lie in a folder of their own, in the same way.
"""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from certrad.models.errors import Rejected
from certrad.models.files import replacement

_CHUNK: Final = 1 << 20
_JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


def path_of(blobs_dir: Path, job_id: str) -> Path:
    """Returns the path of a job's upload.

    Raises:
        ValueError: The id is no safe file name.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError("a job id must be 1 to 100 letters, digits and dashes")
    return blobs_dir / job_id


def store(blobs_dir: Path, job_id: str, data: BinaryIO, *, min_free_bytes: int = 0) -> str:
    """Stores an upload completely or not at all.

    It reads the upload piece by piece, because it may be larger than memory. It does not sync to disk: a client can
    send an upload again after a power cut, but an upload that outlives its purpose is a leak.

    Args:
        blobs_dir: The folder of uploads.
        job_id: The job's id.
        data: The upload.
        min_free_bytes: Bytes that must stay free on the disk.

    Returns:
        The SHA-256, in hexadecimal.

    Raises:
        Rejected: storage_unavailable.
    """
    try:
        with replacement(path_of(blobs_dir, job_id), durable=False) as file:
            digest = _copy(data, file, lambda size: require_space(blobs_dir, min_free_bytes + size))
    except OSError as error:
        raise Rejected("storage_unavailable", f"the upload was not stored: {error.strerror}") from error
    return digest


def require_space(folder: Path, size: int) -> None:
    """Refuses to write where the disk is nearly full.

    Args:
        folder: The folder.
        size: Bytes that must be free.

    Raises:
        Rejected: storage_unavailable.
    """
    if shutil.disk_usage(folder).free < size:
        raise Rejected("storage_unavailable", "the disk has too little free space for the upload")


def _copy(source: BinaryIO, target: BinaryIO, before_write: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        before_write(len(chunk))
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def read(blobs_dir: Path, job_id: str) -> bytes:
    """Returns the upload of a job.

    Raises:
        FileNotFoundError: It is gone.
    """
    return path_of(blobs_dir, job_id).read_bytes()


def delete(blobs_dir: Path, job_id: str) -> None:
    """Deletes the upload of a job; there may be none."""
    path_of(blobs_dir, job_id).unlink(missing_ok=True)
