"""A worker has imported all that its jobs need before it forks, so that no fork imports a module again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import dicom, encoded, noise, tiff_16
from tests.support.processes import ROOT

IMAGES = {
    "png": encoded(noise(40, 50), "png"),
    "jpeg": encoded(noise(40, 50), "jpeg"),
    "tiff": tiff_16(noise(40, 50, dtype="u2")),
    "dicom": dicom(noise(40, 50)),
}
DECODE = """
import importlib, sys
from pathlib import Path
from certrad.workers.cli.worker import IMPORTED_BEFORE_FORKS
from certrad.workers.contract.names import ENGINE_QUEUE, TASKS
for module in IMPORTED_BEFORE_FORKS:
    importlib.import_module(module)
before = set(sys.modules)
from certrad.models.shipped import shipped_backbones
from certrad.workers.intake.decode import decode_bytes
for queue, path in TASKS.values():
    if queue != ENGINE_QUEUE:
        importlib.import_module(path.rpartition(".")[0])
decode_bytes(Path(sys.argv[1]).read_bytes(), shipped_backbones()["demo"], max_pixels=10_000)
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("kind", sorted(IMAGES))
def test_neither_a_task_nor_a_decoder_imports_anything_after_the_fork(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(IMAGES[kind])
    command = [sys.executable, "-c", DECODE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
