"""Measures the cost of a command before it does anything: processor seconds of a usage error and of `--help`.

    python -m certrad.bench command-start

Every command is started as a person starts it, with an option it does not have and with `--help`. The figures are those
of the process and of what it becomes; the least of several rounds is what they need themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from certrad.app.cli.main import REQUESTS
from certrad.bench.common.machine import Machine, this_machine
from certrad.workers.contract.commands import COMPUTING

ERROR_AIM_SECONDS = 2.0
HELP_AIM_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStart:
    """Processor seconds of one command: for a usage error, and for its help."""

    command: str
    usage_error: float
    help: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarts:
    """Every command, and where it was measured."""

    commands: tuple[CommandStart, ...]
    rounds: int
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    commands = tuple(
        CommandStart(
            command=name,
            usage_error=min(seconds(*name.split(), "--no-such-option") for _ in range(arguments.rounds)),
            help=min(seconds(*name.split(), "--help") for _ in range(arguments.rounds)),
        )
        for name in (*REQUESTS, *COMPUTING)
    )
    figures = CommandStarts(commands=commands, rounds=arguments.rounds, machine=this_machine())
    print(json.dumps(asdict(figures), indent=2) if arguments.json else as_text(figures))


def seconds(*arguments: str) -> float:
    """Processor seconds of one command, user and system together."""
    process = subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-m", "certrad.app.cli.main", *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return round(usage.ru_utime + usage.ru_stime, 3)


def as_text(figures: CommandStarts) -> str:
    """The figures for reading."""
    rows = [f"  {one.command:20}{one.usage_error:8.2f}{one.help:8.2f}" for one in figures.commands]
    slowest_error = max(one.usage_error for one in figures.commands)
    slowest_help = max(one.help for one in figures.commands)
    return "\n".join(
        (
            f"processor seconds, the least of {figures.rounds} rounds",
            f"  {'command':20}{'error':>8}{'--help':>8}",
            *rows,
            f"slowest usage error {slowest_error:.2f} s (aim {ERROR_AIM_SECONDS:g}), "
            f"slowest help {slowest_help:.2f} s (aim {HELP_AIM_SECONDS:g})",
            f"  {figures.machine}",
        )
    )
