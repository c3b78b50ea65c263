"""The digest of the certifying code, which is in every document; engines of one job must agree on it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import certrad

CERTIFYING: Final = (
    "models/adapters",
    "models/backbones",
    "models/certificates",
    "models/checkpoint_files.py",
    "models/classifier.py",
    "models/errors.py",
    "models/files.py",
    "models/images",
    "models/installed.py",
    "models/prediction_sets",
    "models/problems",
    "models/prompts",
    "models/shipped.py",
    "models/smoothing",
    "models/types",
    "workers/engine/certification.py",
    "workers/engine/certification_input.py",
    "workers/engine/helper.py",
    "workers/engine/job_setup.py",
    "workers/engine/model.py",
    "workers/engine/parameters.py",
    "workers/engine/prediction_sets.py",
    "workers/engine/variants.py",
)
"""Files and packages under `certrad` that decide what a certificate says, in the order of their names."""

TRAINING: Final = ("models/adapters/training", "models/prompts/training")
"""Left out of the packages above: what they make is named in a document by the digest of the checkpoint."""


def code_sha256(root: Path | None = None) -> str:
    """Returns the SHA-256 over the names and sources of the certifying code.

    Args:
        root: The folder of the package `certrad`; the installed one by default.
    """
    root = root or Path(certrad.__file__).parent
    hasher = hashlib.sha256()
    for path in _sources(root):
        hasher.update(f"{path.relative_to(root).as_posix()}\0".encode())
        hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return hasher.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for entry in CERTIFYING:
        path = root / entry
        files = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
        yield from (file for file in files if not any(file.is_relative_to(root / each) for each in TRAINING))
