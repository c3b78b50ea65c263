"""Real processes for tests: started, watched by conditions, and gone when the test ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], *, timeout: float = 120.0, what: str = "the condition") -> T:
    """The first true answer of the condition; fails the test when none comes in time.

    timeout: seconds; so many that a busy machine never needs them, since only a failure waits that long.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout} s"
        time.sleep(0.01)
    return answer


def gone(pid: int) -> bool:
    """Returns whether no process of this id runs; a zombie runs no more."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def children(pid: int) -> list[psutil.Process]:
    """Every descendant of a process."""
    return psutil.Process(pid).children(recursive=True)


class Processes:
    """Starts processes that do not outlive the test; their output lies in files named after them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, arguments: Sequence[str], *, name: str = "process", env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Runs `python ARGUMENTS` in the repository's root; its output goes to `NAME.out` and `NAME.err`."""
        with self.output(name).open("ab") as out, self.errors(name).open("ab") as err:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        self._running.append(process)
        return process

    def output(self, name: str = "process") -> Path:
        """Returns the file that the standard output of a process goes to."""
        return self._directory / f"{name}.out"

    def errors(self, name: str = "process") -> Path:
        """Returns the file that the standard error of a process goes to."""
        return self._directory / f"{name}.err"

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            if process.poll() is None:
                victims = [*children(process.pid), psutil.Process(process.pid)]
                for victim in victims:
                    with suppress(psutil.NoSuchProcess):
                        victim.kill()
            process.wait()


def environment(settings: BaseSettings) -> dict[str, str]:
    """The `CERTRAD_*` environment under which a process builds the same settings."""
    return {f"CERTRAD_{name.upper()}": str(value) for name, value in settings.model_dump().items() if value is not None}


def kill_9(pid: int) -> None:
    """`kill -9`."""
    os.kill(pid, signal.SIGKILL)
