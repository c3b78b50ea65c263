"""An adapter from its training on a site's images to a certificate that anyone can replay, on a running service."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.archives import textured
from tests.support.processes import ROOT
from tests.support.service_process import running_service

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of images; its path is short, because the address of a Unix socket has 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="cr-"))
    (made / "pool").mkdir()
    for place in range(8):
        (made / "pool" / f"{place}.png").write_bytes(textured(place, 1))
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


def test_trained_adapter_is_used_by_the_running_service_and_its_certificate_is_replayed(folder: Path) -> None:
    (folder / "new.png").write_bytes(textured(50, 3))
    with running_service(folder) as url:
        trained = certrad(folder, "adapt-encoder", "--images", "pool", "--steps", "2", "--limit", "8", "--rank", "2")
        assert trained.returncode == 0, trained.stderr
        adapter = json.loads(trained.stdout)["id"]
        assert httpx.get(f"{url}/adapters/{adapter}", timeout=30).json()["card"]["rank"] == 2

        def certify(image: str) -> subprocess.CompletedProcess[str]:
            return certrad(
                folder, "certify", image, "--url", url, "--adapter", adapter, "--n", "100", "--save", "kept", "--json"
            )

        done = certify("new.png")
        assert done.returncode in (0, 3), done.stderr  # certified or abstained
        refused = certify("pool/0.png")
        assert "image_was_tuned_on" in refused.stdout + refused.stderr
    document = folder / "kept" / "new.png.certificate.json"
    assert json.loads(document.read_text())["classifier"]["parts"][1]["adapter"] == adapter
    verified = certrad(folder, "verify", str(document), "--image", "new.png", "--replay", "100", "--json")
    assert verified.returncode == 0, verified.stdout
    details = {check["name"]: check["detail"] for check in json.loads(verified.stdout)["checks"]}
    assert details["replay"].startswith("100 of 100 random samples")
    shutil.rmtree(folder / "certrad-data" / "adapters")
    missing = certrad(folder, "verify", str(document), "--image", "new.png", "--replay", "100", "--json")
    refusals = {check["name"]: check["detail"] for check in json.loads(missing.stdout)["checks"] if not check["ok"]}
    assert refusals == {"classifier": f"adapter_not_found: there is no adapter '{adapter}' on this machine"}
