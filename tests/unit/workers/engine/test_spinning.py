"""Processes that compute let the processor go while their threads wait."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from certrad.bench.measure import waiting_threads
from certrad.workers.cli import main as cli
from certrad.workers.engine.worker import EngineProcess
from certrad.workers.environment import SPINNING

((VARIABLE, COUNT),) = SPINNING.items()


@pytest.mark.parametrize(("of_operator", "expected"), [(None, COUNT), ("7", "7")])
def test_an_engine_starts_with_the_count_unless_the_operator_has_one(
    of_operator: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def popen(*_: Any, env: dict[str, str], **__: Any) -> None:
        started.append(env[VARIABLE])

    monkeypatch.delenv(VARIABLE, raising=False)
    if of_operator:
        monkeypatch.setenv(VARIABLE, of_operator)
    monkeypatch.setattr("certrad.workers.engine.worker.subprocess.Popen", popen)
    EngineProcess("certrad.workers.engine.process", "name")._channel.close()
    assert started == [expected]


def test_a_command_sets_it_before_torch_is_loaded(tmp_path: Path) -> None:
    """In a process of its own: this one has torch already."""
    probe = (
        "import os, sys\n"
        "from certrad.workers.cli import main as cli\n"
        "from certrad.models.shipped import shipped_prompts\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: event == 'import' and args[0] == 'torch' "
        f"and seen.append(os.environ.get({VARIABLE!r})))\n"
        "code = cli.main(['prompts', 'words', '--', next(iter(shipped_prompts()))])\n"
        "print(code, seen[0])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    answer = subprocess.run(
        [sys.executable, "-c", probe],
        env={**environment, "CERTRAD_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split()[-1] == COUNT


def test_the_operators_own_count_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "7")
    with pytest.raises(SystemExit):
        cli.main(["fetch", "--help"])
    assert cli.main(["fetch", "nothing"]) == 2
    assert os.environ[VARIABLE] == "7"


def test_the_bench_times_each_count_alone_and_beside_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    options = Namespace(
        backbone="demo", backbones=Path("nowhere"), counts=[0, 5], passes=1, rounds=1, json=True, here=False
    )
    waiting_threads.run(options)
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert [cost["spin_count"] for cost in costs] == [0, 5]
    assert min(cost[column] for cost in costs for column in ("alone", "busy")) > 0
