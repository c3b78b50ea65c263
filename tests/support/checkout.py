"""A folder that looks like one in which a reader of the documentation has installed the service."""

import sys
from importlib.util import find_spec
from pathlib import Path

from tests.support.processes import ROOT


def installation(folder: Path) -> None:
    """Makes the environment that `make` makes, as far as commands of the documentation see it, and a checkout."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, arguments in {"certrad": "-m certrad.app.cli.main", "python": "", "python3": ""}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        program.chmod(0o755)
    (programs / "activate").write_text('PATH="$PWD/.venv/bin:$PATH"\n')
    packages = folder / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "data_store").symlink_to(sample_images())
    for part in ("docs", "deploy"):
        (folder / part).symlink_to(ROOT / part)
    (folder / "source").symlink_to(ROOT)


def sample_images() -> Path:
    """The folder that pydicom-data installs."""
    spec = find_spec("data_store")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))
