"""Restarts a child process when it ends, up to a limit."""

import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

_DEATHS_COUNTED_SECONDS: Final = 60.0
_MOST_DEATHS: Final = 10
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0

_log = structlog.get_logger()


class StackError(Exception):
    """The stack cannot be started or kept up; the message says why."""


class StartError(Exception):
    """A process could not be started; the message says why. A `Child` tries again after a pause."""


@dataclass(slots=True)
class Child:
    """One process of the stack and its recent deaths."""

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=deque)
    start_at: float = 0.0

    @property
    def running(self) -> bool:
        """Returns whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def keep_up(self, now: float) -> int | None:
        """Starts the process if it should run and does not, each time after a longer pause.

        An exit code of 0 is a death too: RQ workers end with it when they lose Redis.

        Args:
            now: Monotonic seconds.

        Returns:
            The exit code of a process that has ended since the last call, or None.

        Raises:
            StackError: It died more than ten times within a minute.
        """
        code = None if self.process is None else self.process.poll()
        if code is not None:
            _log.warning("child ended", child=self.name, code=code)
            self.process = None
            self._count_death(now)
        if self.process is None and now >= self.start_at:
            try:
                self.process = self.spawn()
            except StartError:
                self._count_death(now)
            else:
                _log.info("child started", child=self.name, pid=self.process.pid)
        return code

    def _count_death(self, now: float) -> None:
        self.deaths.append(now)
        while self.deaths[0] < now - _DEATHS_COUNTED_SECONDS:
            self.deaths.popleft()
        if len(self.deaths) > _MOST_DEATHS:
            raise StackError(f"{self.name} died {len(self.deaths)} times within a minute; see its log")
        self.start_at = now + min(_FIRST_PAUSE_SECONDS * 2 ** (len(self.deaths) - 1), _LONGEST_PAUSE_SECONDS)


def end(children: Iterable[Child], seconds: float) -> None:
    """Asks all to end, and kills those that have not after `seconds`, which costs a job no more than a block."""
    running = [child.process for child in children if child.process is not None and child.running]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
