"""The reports of a job as files: their kinds, media types and names, and where they lie until they expire.

They lie beside the PNG of the model input, and carry the patient's own demographics: only their owner may read them,
they are deleted some time after the job ended, and with the job.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from certrad.models.files import replace_file
from certrad.workers.contract import figures, uploads
from certrad.workers.contract.certificate_files import FileKind

OutputKind = Literal["structured_report", "secondary_capture", "fhir"]


OUTPUTS: Final[Mapping[OutputKind, FileKind]] = {
    "structured_report": FileKind(
        media_type="application/dicom",
        suffix=".sr.dcm",
        description="DICOM Comprehensive 3D SR (TID 1500)",
    ),
    "secondary_capture": FileKind(
        media_type="application/dicom",
        suffix=".sc.dcm",
        description="DICOM Secondary Capture, a page for every viewer",
    ),
    "fhir": FileKind(
        media_type="application/fhir+json",
        suffix=".fhir.json",
        description="FHIR R4 bundle",
    ),
}

OutputOutcomes = Mapping[OutputKind, str | None]
"""Kind of output -> None if it was made, else why it was not: a code of `certrad.models.errors`."""


def path(outputs_dir: Path, job_id: str, kind: OutputKind) -> Path:
    """Returns the path of an output.

    Args:
        outputs_dir: The folder of outputs.
        job_id: The job's id.
        kind: The kind of output.

    Raises:
        ValueError: The id is no safe file name.
    """
    return uploads.path_of(outputs_dir, job_id).with_name(f"{job_id}{OUTPUTS[kind].suffix}")


def job_of(file: Path) -> str:
    """Returns the id of the job that a file in the folder of outputs belongs to."""
    return file.name.partition(".")[0]


def store(outputs_dir: Path, job_id: str, kind: OutputKind, content: bytes) -> None:
    """Stores an output; a power cut leaves all of it or nothing.

    Raises:
        OSError: The disk refuses.
    """
    replace_file(path(outputs_dir, job_id, kind), content)


def read(outputs_dir: Path, job_id: str, kind: OutputKind) -> bytes:
    """Returns an output.

    Raises:
        FileNotFoundError: It is gone.
    """
    return path(outputs_dir, job_id, kind).read_bytes()


def delete(outputs_dir: Path, job_id: str) -> None:
    """Deletes every output of a job, the PNG of its model input and the figures included; there may be none."""
    for file in (uploads.path_of(outputs_dir, job_id), *_reports(outputs_dir, job_id)):
        file.unlink(missing_ok=True)
    figures.delete(outputs_dir, job_id)


def _reports(outputs_dir: Path, job_id: str) -> Iterator[Path]:
    return (path(outputs_dir, job_id, kind) for kind in OUTPUTS)
