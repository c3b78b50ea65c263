"""Noise on the image's own pixels, from the command line to a certificate that anyone can replay."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import textured
from tests.support.processes import ROOT
from tests.support.service_process import running_service

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


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


def test_certificate_on_the_pixels_of_the_image_is_replayed(folder: Path) -> None:
    (folder / "new.png").write_bytes(textured(50, 3))
    with running_service(folder) as url:
        done = certrad(
            folder,
            *("certify", "new.png", "--url", url, "--noise-space", "image", "--sigma", "0.1", "--n", "200"),
            *("--save", "kept", "--json"),
        )
        assert done.returncode in (0, 3), done.stderr + done.stdout
    path = folder / "kept" / "new.png.certificate.json"
    document = json.loads(path.read_text())
    assert document["classifier"]["parts"][0]["kind"] == "noisy_image/1"
    verified = certrad(folder, "verify", str(path), "--image", "new.png", "--replay", "200", "--fresh", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    details = {check["name"]: check["detail"] for check in json.loads(verified.stdout)["checks"]}
    assert details["replay"].startswith("200 of 200 random samples")
