"""Every window of a real DICOM file, from the command line to a certificate that anyone can replay."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.support.processes import ROOT
from tests.support.service_process import running_service

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

LISTS = [{"kind": "windows", "windows": "header"}, {"kind": "shift", "pixels": 1}, {"kind": "jpeg", "quality": [50]}]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, because the address of a Unix socket has 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="cr-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def certrad(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "certrad.app.cli.main", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_certificate_of_every_window_of_the_header_is_replayed(folder: Path) -> None:
    source = get_testdata_file("MR-SIEMENS-DICOM-WithOverlays.dcm")
    assert source is not None
    shutil.copy(source, folder / "mr.dcm")
    with running_service(folder) as url:
        done = certrad(
            folder,
            *("certify", "mr.dcm", "--url", url, "--sigma", "0.25", "--n", "200", "--save", "kept", "--json"),
            *("--variants", json.dumps(LISTS), "--variant-radius", "0.05"),
        )
        assert done.returncode in (0, 3), done.stderr + done.stdout
    path = folder / "kept" / "mr.dcm.certificate.json"
    claim = json.loads(path.read_text())["claims"][-1]
    assert claim["kind"] == "variants/1"
    windows = [row["rendering"]["window"] for row in claim["rows"] if row["rendering"]["kind"] == "window/1"]
    assert [(window["number"], window["of"], window["centre"]) for window in windows] == [
        ("1", "2", "450.0"),
        ("2", "2", "200.0"),
    ]
    assert len(claim["rows"]) == 2 + 8 + 1
    verified = certrad(folder, "verify", str(path), "--image", "mr.dcm", "--replay", "30", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    details = {check["name"]: check["detail"] for check in json.loads(verified.stdout)["checks"]}
    drawn = 11 * min(30, int(claim["n"]))
    assert details["replay_variants"].startswith(f"of 11 variants, {drawn} of {drawn} random samples")
