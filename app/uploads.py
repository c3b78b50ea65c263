"""Uploads between API and intake: one file per job, readable by its owner only, gone when the job ends."""

import os
from pathlib import Path

from models.errors import Rejected


def path_of(blobs_dir: Path, job_id: str) -> Path:
    """Where the upload of a job lies."""
    return blobs_dir / job_id


def store(blobs_dir: Path, job_id: str, data: bytes) -> None:
    """Stores an upload whole or not at all; raises Rejected `storage_unavailable`.

    It is not synced to disk: an upload lost with the power is sent again, one that outlives its purpose is a leak.
    """
    part = blobs_dir / f"{job_id}.part"
    try:
        blobs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            part.rename(path_of(blobs_dir, job_id))
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the upload was not stored: {error.strerror}") from error


def discard(blobs_dir: Path, job_id: str) -> None:
    """Deletes an upload; there may be none."""
    path_of(blobs_dir, job_id).unlink(missing_ok=True)
