"""Measures the time until a process of the API answers.

    python -m certrad.bench start-up

Every round starts the process as `certrad up` does, on a socket that is open already, asks it for `/health/live` and
kills it once it has answered with 200: neither pauses between tries nor a shutdown are in the figures. Redis is not
needed for this answer, and none runs.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from certrad.bench.common.machine import Machine, this_machine

_ANSWER_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds from the start of one process to its first answer, on the clock and of the processor."""

    wall: float
    processor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """The least of each over the rounds, which is what the process itself needs, and every round."""

    wall_seconds: float
    processor_seconds: float
    rounds: tuple[Start, ...]
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    rounds = tuple(start() for _ in range(arguments.rounds))
    figures = StartUp(
        wall_seconds=min(one.wall for one in rounds),
        processor_seconds=min(one.processor for one in rounds),
        rounds=rounds,
        machine=machine,
    )
    print(json.dumps(asdict(figures), indent=2) if arguments.json else as_text(figures))


def start() -> Start:
    """Starts one process of the API and takes the time. Raises OSError, HTTPException or RuntimeError without a 200."""
    with tempfile.TemporaryDirectory() as data_dir, socket.create_server(("127.0.0.1", 0)) as listener:
        command = ["-m", "uvicorn", "certrad.app.main:create_app", "--factory", "--log-level", "warning"]
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, *command, "--fd", str(listener.fileno())],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "CERTRAD_DATA_DIR": data_dir},
            pass_fds=(listener.fileno(),),
        )
        try:
            status = _status_of_live(listener.getsockname()[1])
            wall = time.perf_counter() - began
        finally:
            process.kill()
            _, process.returncode, usage = os.wait4(process.pid, 0)
    if status != http.client.OK:
        raise RuntimeError(f"/health/live must answer with 200, got {status}")
    return Start(wall=round(wall, 3), processor=round(usage.ru_utime + usage.ru_stime, 3))


def as_text(figures: StartUp) -> str:
    """The figures for reading."""
    return "\n".join(
        (
            f"the API answers after {figures.wall_seconds:.2f} s, {figures.processor_seconds:.2f} s of processor time",
            f"  the least of {len(figures.rounds)} rounds: {', '.join(f'{one.wall:.2f}' for one in figures.rounds)} s",
            f"  {figures.machine}",
        )
    )


def _status_of_live(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status
    finally:
        connection.close()
