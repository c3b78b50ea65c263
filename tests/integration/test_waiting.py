"""Processes that wait for Redis say which one, and `certrad up` says what it starts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from certrad.workers.contract.settings import SharedSettings
from certrad.workers.contract.waiting import address, tell_if_redis_is_away
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.processes import ROOT, Processes, wait_for
from tests.support.stack import start_stack

AWAY = "redis://doctor:secret@127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (AWAY, "127.0.0.1:1"),
        ("redis://cache", "cache:6379"),
        ("rediss://:secret@[::1]:7000/2", "::1:7000"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
    ],
)
def test_address_is_shown_without_user_and_password(url: str, shown: str) -> None:
    assert address(url) == shown


def test_nothing_is_said_to_a_redis_that_answers(
    redis_server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_if_redis_is_away(SharedSettings(redis_url=redis_server.url))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "command",
    [["certrad.workers.cli.main", "worker", "intake"], ["certrad.app.cli.main", "api", "--port", "0"]],
    ids=["worker", "api"],
)
def test_process_says_which_redis_it_waits_for(command: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "CERTRAD_REDIS_URL": AWAY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "waiting" in line)
    finally:
        process.kill()
        process.communicate()
    assert said == "certrad: waiting for Redis at 127.0.0.1:1 (ConnectionError)\n"


def test_up_says_what_it_starts_where_everything_lies_and_what_to_type_next(
    processes: Processes, tmp_path: Path
) -> None:
    stack = start_stack(processes, tmp_path / "d", "--engines", "2")
    errors = processes.errors("d")
    told = wait_for(lambda: text if "another terminal" in (text := errors.read_text()) else None, what="the command")
    command = "certrad" if shutil.which("certrad") else os.path.relpath(Path(sys.executable).with_name("certrad"), ROOT)
    assert told.splitlines() == [
        f"certrad: data directory {tmp_path}/d (from --data-dir; new, without earlier jobs, prompts or keys)",
        f"certrad: starting Redis, intake, 2 engines and the API; logs in {tmp_path}/d/logs",
        f"certrad: in another terminal: {command} certify IMAGE --url {stack.url}; Ctrl+C stops the service",
    ]
