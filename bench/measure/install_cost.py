"""Measures what the demonstration costs a person with a bare clone.

    python -m certrad.bench install --folder /var/tmp

Clones the repository as it is committed, times `make demo` there, which first installs what the demo needs into a
`.venv` of the clone, times it again once installed, and deletes the clone. The sizes of the packages are added up from
pip's own log. Takes minutes and several GB of disk.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from certrad.bench.common.machine import Machine, this_machine

_ROOT: Final = Path(__file__).resolve().parents[2]
_TOLD: Final = re.compile(r"\b(Downloading|Using cached) \S+ \(([\d.]+) (bytes|kB|MB|GB)\)")
_AT_HAND: Final = re.compile(r"\bProcessing (/\S+)")
_BYTES: Final = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Bytes of the packages that pip needed: over the network, and at hand in its cache or in a given folder.

    Exact for a folder; else to the digits that pip tells.
    """

    downloaded: float
    at_hand: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallCost:
    """Seconds of `make demo` on a bare clone and once installed; what was fetched; bytes of the installed `.venv`."""

    bare_seconds: float
    installed_seconds: float
    fetched: Fetched
    installed_bytes: int
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--folder", type=Path, help="where the clone lies meanwhile; default: that of temporary files")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        clone, log = Path(place) / "clone", Path(place) / "pip.log"
        subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(clone)], check=True)  # noqa: S603, S607
        env = {**os.environ, "PIP_LOG": str(log)}
        cost = InstallCost(
            bare_seconds=_seconds_of_demo(clone, env),
            installed_seconds=_seconds_of_demo(clone, env),
            fetched=fetched(log.read_text("utf-8")),
            installed_bytes=_bytes_below(clone / ".venv"),
            machine=machine,
        )
    print(json.dumps(asdict(cost), indent=2) if arguments.json else as_text(cost))


def fetched(log: str) -> Fetched:
    """Returns the downloads in a log of pip; a package counts every time that it is named."""
    found = [(kind, float(size) * _BYTES[unit]) for kind, size, unit in _TOLD.findall(log)]
    files = [Path(path) for path in _AT_HAND.findall(log)]
    return Fetched(
        downloaded=sum(size for kind, size in found if kind == "Downloading"),
        at_hand=sum(size for kind, size in found if kind == "Using cached")
        + sum(path.stat().st_size for path in files if path.is_file()),  # a folder is the clone itself
    )


def as_text(cost: InstallCost) -> str:
    """The figures for reading."""
    downloaded, at_hand = cost.fetched.downloaded / 1e9, cost.fetched.at_hand / 1e9
    return "\n".join(
        (
            f"make demo on a bare clone  {cost.bare_seconds:7.0f} s   with the installation",
            f"make demo once installed   {cost.installed_seconds:7.0f} s",
            f"packages                   {downloaded + at_hand:7.2f} GB  of which {at_hand:.2f} GB were at hand",
            f"installed                  {cost.installed_bytes / 1e9:7.2f} GB",
            f"  {cost.machine}",
        )
    )


def _seconds_of_demo(clone: Path, env: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(["make", "demo"], cwd=clone, env=env, stdout=sys.stderr, check=True)  # noqa: S607
    return round(time.perf_counter() - began, 1)


def _bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
