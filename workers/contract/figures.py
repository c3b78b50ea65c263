"""The figures of a certificate as files, in the folder of outputs until they expire.

An empty file says that the job has no such figure.
"""

from pathlib import Path

from certrad.models.files import replacement
from certrad.models.types.figures import FIGURES, Figure
from certrad.workers.contract import uploads


def path(outputs_dir: Path, job_id: str, figure: Figure) -> Path:
    """Returns the path of a figure.

    Args:
        outputs_dir: The folder of outputs.
        job_id: The job's id.
        figure: Its name.

    Raises:
        ValueError: The id is no safe file name.
    """
    return uploads.path_of(outputs_dir, job_id).with_name(f"{job_id}.{figure}.json")


def store(outputs_dir: Path, job_id: str, figure: Figure, content: bytes) -> None:
    """Stores a figure completely or not at all.

    Args:
        outputs_dir: The folder of outputs.
        job_id: The job's id.
        figure: Its name.
        content: JSON; empty where the job has no such figure.

    Raises:
        OSError: The disk refuses.
    """
    with replacement(path(outputs_dir, job_id, figure), durable=False) as file:
        file.write(content)


def read(outputs_dir: Path, job_id: str, figure: Figure) -> bytes:
    """Returns a figure; empty where the job has no such figure.

    Args:
        outputs_dir: The folder of outputs.
        job_id: The job's id.
        figure: Its name.

    Raises:
        FileNotFoundError: It is gone.
    """
    return path(outputs_dir, job_id, figure).read_bytes()


def delete(outputs_dir: Path, job_id: str) -> None:
    """Deletes the figures of a job; there may be none.

    Args:
        outputs_dir: The folder of outputs.
        job_id: The job's id.
    """
    for figure in FIGURES:
        path(outputs_dir, job_id, figure).unlink(missing_ok=True)
