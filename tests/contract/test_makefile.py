"""The verbs of the Makefile install what they need, and no more, and pip shows its progress."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

SERVICE = {"api", "worker", "hospital", "local", "demo"}
EVERYTHING = {*SERVICE, "telemetry", "openvino", "bench", "evaluate", "dev"}


def plan(verb: str, venv: Path) -> str:
    """Returns what `make VERB` would run where the environment is not there yet."""
    command = ["make", "--dry-run", "--no-print-directory", verb, f"VENV={venv}"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("verb", "extras"),
    [
        *((verb, SERVICE) for verb in ("demo", "up")),
        *(
            (verb, EVERYTHING)
            for verb in (
                *("setup", "fmt", "lint", "test", "test-system", "soak", "check-reports"),
                *("bench", "lock", "sbom", "audit"),
            )
        ),
    ],
)
def test_a_verb_installs_the_extras_it_needs(verb: str, extras: set[str], tmp_path: Path) -> None:
    (install,) = (line for line in plan(verb, tmp_path / "venv").splitlines() if " pip install " in line)
    listed = re.search(r"'\.\[(.+)\]'", install)
    assert listed is not None
    assert set(listed[1].split(",")) == extras
    assert " -q" not in install
    assert "--quiet" not in install


def test_tests_add_to_the_environment_of_the_demo_and_say_so(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.joinpath("bin").mkdir(parents=True)
    for name in ("bin/python", ".installed-demo"):
        venv.joinpath(name).touch()
    assert "pip install" not in plan("demo", venv)
    assert "Installing into" in plan("test", venv)
    venv.joinpath(".installed-all").touch()
    assert "pip install" not in plan("test", venv)
