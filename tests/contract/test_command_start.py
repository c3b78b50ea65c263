"""Help and usage errors of every command come from processes that load no package that computes."""

import os
import subprocess
import sys

import pytest

from certrad.app.cli.main import REQUESTS
from certrad.models.shipped import shipped_tasks
from certrad.workers.contract.commands import COMPUTING
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE
from tests.support.processes import ROOT

FEW_SHOT = str(shipped_tasks()["mednist"].default_prompt)
HEAVY = {"torch", "torchvision", "numpy", "scipy", "PIL", "pydicom", "matplotlib", "transformers", "open_clip"}


def loaded_by(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the packages its processes loaded: both, where one becomes another."""
    done = subprocess.run(
        [sys.executable, "-m", "certrad.app.cli.main", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.returncode, {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("name", [*REQUESTS, *COMPUTING])
def test_help_and_usage_errors_load_nothing_that_computes(name: str) -> None:
    for option, expected in (("--help", DONE), ("--no-such-option", BAD_USAGE)):
        code, packages = loaded_by(*name.split(), option)
        assert code == expected
        assert "argparse" in packages
        assert packages & HEAVY == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--task=mednist", "--data=/nowhere", "--prompt=nobody", "--backbone=nobody", "--sigma=9"],
        ["attack", "/nowhere", "--task=nothing", "--prompt=nobody", "--epsilon=9"],
        ["audit", "--images=/nowhere", "--prompt=nobody"],
        ["prompts", "calibrate", "--images=/nowhere", "--name=../site", "--prompt=nobody"],
        ["prompts", "words", "nobody"],
        ["fetch", "nobody"],
        ["evaluate", "--task=folders", "--data=."],
        ["evaluate", "--task=mednist", "--data=.", f"--prompt={FEW_SHOT}", "--adaptation=gated"],
        ["attack", ".", "--task=rsna", f"--prompt={FEW_SHOT}"],
        ["audit", "--images=.", f"--prompt={FEW_SHOT}", "--backbone=plip"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_values_are_checked_before_anything_that_computes_is_loaded(arguments: list[str]) -> None:
    code, packages = loaded_by(*arguments)
    assert code == BAD_USAGE
    assert packages & HEAVY == set()
