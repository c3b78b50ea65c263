"""Measures the memory of every process of a service that has made certificates.

    python -m certrad.bench process-memory

It starts `certrad up` in a folder of its own, certifies some images, and reads the proportional set size of every
process from the system: a page that several processes share counts once, divided among them, so that the sum is what
the service takes.
"""

import argparse
import json
import os
import tempfile
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from certrad.bench.common.machine import Machine, this_machine
from certrad.bench.common.own_service import own_service
from certrad.bench.docs.phantom import phantom

_QUERY: Final = "adaptation=none&prompt=template&sigma=0.5&n0=64&n=256"
_MEGABYTE: Final = 10**6
_ROLES: Final = {
    "certrad.workers.engine.process": "engine, the process with the model",
    "worker engine": "engine, the process that watches it",
    "worker intake": "intake worker",
    "worker archive": "archive worker",
    "certrad.app.http.server": "API",
    "redis.sock": "Redis or Valkey",
    " up ": "certrad up",
}
"""Part of a command line -> the process, the first that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """Megabytes of each kind of process, all of its processes together, and their sum."""

    by_role: dict[str, float]
    sum: float
    certificates: int
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--certificates", type=int, default=5)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    with tempfile.TemporaryDirectory() as folder, own_service(Path(folder)) as url:
        for _ in range(arguments.certificates):
            _certify(url)
        by_role = _megabytes_by_role()
    figures = ProcessMemory(
        by_role=by_role,
        sum=round(sum(by_role.values()), 1),
        certificates=arguments.certificates,
        machine=machine,
    )
    print(json.dumps(asdict(figures), indent=2) if arguments.json else as_text(figures))


def as_text(figures: ProcessMemory) -> str:
    """The figures for reading."""
    lines = [f"  {role:36}{megabytes:8.1f} MB" for role, megabytes in figures.by_role.items()]
    head = f"proportional set size after {figures.certificates} certificates: {figures.sum:.0f} MB in all"
    return "\n".join((head, *lines, f"  {figures.machine}"))


def _certify(url: str) -> None:
    # S310 is about addresses of others; this one is that of the service which this process has started.
    sent = urllib.request.Request(f"{url}/certify?{_QUERY}", phantom(), {"Prefer": "wait=60"})  # noqa: S310
    with urllib.request.urlopen(sent) as answer:  # noqa: S310
        job: dict[str, Any] = json.load(answer)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the certificate must succeed, got {job['status']}: {job['error']}")


def _megabytes_by_role() -> dict[str, float]:
    """Returns what the processes that this one has started take, largest first."""
    found: dict[str, float] = {}
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            words, taken = f" {' '.join(process.cmdline())} ", process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue  # a copy that a worker had forked for a job that has just ended
        role = next((role for part, role in _ROLES.items() if part in words), "other")
        found[role] = found.get(role, 0.0) + taken / _MEGABYTE
    return {role: round(found[role], 1) for role in sorted(found, key=lambda role: -found[role])}
