"""The wheel, built from the sdist, works beside a project that has its own `app` and `models`."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PACKAGES = ("app", "models", "workers")
SOURCES = ("certrad", "bench", *PACKAGES, "pyproject.toml", "README.md", "LICENSE")
PROJECT = """
import json, sys
import app, models
from certrad import SmoothingParams, certify, load_backbone
import certrad.app.main, certrad.workers.engine.process
owners = {name: sys.modules[name].__file__ for name in ("app", "models", "certrad", "certrad.app", "certrad.models")}
print(json.dumps({"bare": sorted({"app", "bench", "models", "workers"} & sys.modules.keys()), "owners": owners}))
"""


def build(kind: str, sources: Path, target: Path) -> Path:
    """Returns what the build backend makes in a folder: `sdist` or `wheel`."""
    target.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=sources, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sdist")
    sources = directory / "sources"
    sources.mkdir()
    # Copied, for a build leaves its products beside the sources; the links of `certrad` stay links.
    subprocess.run(["cp", "-R", *(str(ROOT / name) for name in SOURCES), str(sources)], check=True)
    return build("sdist", sources, directory / "built")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (sources,) = directory.iterdir()
    return build("wheel", sources, directory / "built")


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone, which borrows the dependencies of this one."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], env=environment(), check=True)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    site_packages(venv).joinpath("borrowed.pth").write_text(f"import sys; sys.path.extend({borrowed!r})\n")
    return venv


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with packages of the names that this repository's folders have."""
    for name in ("app", "models"):
        tmp_path.joinpath(name).mkdir()
        tmp_path.joinpath(name, "__init__.py").touch()
    tmp_path.joinpath("project.py").write_text(PROJECT)
    return tmp_path


def site_packages(venv: Path) -> Path:
    (found,) = venv.glob("lib/python*/site-packages")
    return found


def environment() -> dict[str, str]:
    """This process's environment without what would let the sources of the repository in."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def output(venv: Path, project: Path, program: str, *arguments: str) -> str:
    command = [str(venv / "bin" / program), *arguments]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"certrad/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected | {"certrad/__init__.py", "certrad/py.typed"}


def test_it_installs_one_package_and_one_command(venv: Path) -> None:
    installed = {path.name.partition("-")[0] for path in site_packages(venv).iterdir()}
    assert installed == {"borrowed.pth", "certrad"}
    commands = {path.name for path in venv.joinpath("bin").iterdir()}
    assert {name for name in commands if not name.lower().startswith(("activate", "python"))} == {"certrad"}


def test_it_leaves_the_packages_of_a_project_alone(venv: Path, project: Path) -> None:
    seen = json.loads(output(venv, project, "python", "project.py"))
    assert seen["bare"] == ["app", "models"]
    assert {name for name, file in seen["owners"].items() if Path(file).is_relative_to(project)} == {"app", "models"}
    ours = {name for name, file in seen["owners"].items() if Path(file).is_relative_to(venv)}
    assert ours == {"certrad", "certrad.app", "certrad.models"}


def test_its_command_works_within_such_a_project(venv: Path, project: Path) -> None:
    assert "certified L2 radius" in output(venv, project, "certrad", "--help")
    keys = json.loads(output(venv, project, "certrad", "keys", "list", "--data-dir", str(project / "data")))
    assert set(keys)
