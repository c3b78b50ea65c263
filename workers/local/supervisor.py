"""Restarts a child process when it ends, up to a limit, or when it learns that the process does not serve."""

import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
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


def _never(_code: int | None) -> bool:
    return False


@dataclass(slots=True)
class Child:
    """One process of the stack and its recent deaths.

    Attributes:
        name: Its name.
        spawn: Starts it.
        process: The process, unless it has ended or was never started.
        excused: Says, from the exit code, whether something else caused a death: it is not counted, and the next start
            waits the longest pause. The code is None for a start that failed.
        pauses: Exit code -> seconds before the next start. Such a death is not counted: it would happen again at once.
        grace: Seconds that a process which does not serve has to end by itself.
        deaths: Monotonic seconds of the deaths that count.
        start_at: Monotonic seconds of its next start.
        kill_at: Monotonic seconds when a process is killed that was asked to end.
    """

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    excused: Callable[[int | None], bool] = _never
    pauses: Mapping[int, float] = field(default_factory=dict)
    grace: float = 10.0
    deaths: deque[float] = field(default_factory=deque)
    start_at: float = 0.0
    kill_at: float | None = None

    @property
    def running(self) -> bool:
        """Returns whether the process runs."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Returns the process id while the process runs, else None."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def keep_up(self, now: float) -> int | None:
        """Starts the process if it should run and does not, each time after a longer pause.

        Every exit counts as a death, also one with exit code 0.

        Args:
            now: Monotonic seconds.

        Returns:
            The exit code of a process that has ended since the last call, or None.

        Raises:
            StackError: It died more than ten times within a minute, by its own fault.
        """
        code = None if self.process is None else self.process.poll()
        if code is not None:
            _log.warning("child ended", child=self.name, code=code)
            self.process = self.kill_at = None
            self._plan_restart(now, code)
        if self.process is not None and self.kill_at is not None and now >= self.kill_at:
            self.process.kill()
        if self.process is None and now >= self.start_at:
            try:
                self.process = self.spawn()
            except StartError:
                self._plan_restart(now, None)
            else:
                _log.info("child started", child=self.name, pid=self.process.pid)
        return code

    def ask_to_end(self, now: float) -> bool:
        """Asks a process that runs and does not serve to end; `keep_up` kills it after the grace and starts another.

        Args:
            now: Monotonic seconds.

        Returns:
            Whether it was asked now: it runs, and was not asked before.
        """
        if self.process is None or self.kill_at is not None:
            return False
        _log.warning("child does not serve", child=self.name, pid=self.process.pid)
        self.process.terminate()
        self.kill_at = now + self.grace
        return True

    def _plan_restart(self, now: float, code: int | None) -> None:
        if code is not None and code in self.pauses:
            self.start_at = now + self.pauses[code]
            return
        if self.excused(code):
            self.start_at = now + _LONGEST_PAUSE_SECONDS
            return
        self.deaths.append(now)
        while self.deaths[0] < now - _DEATHS_COUNTED_SECONDS:
            self.deaths.popleft()
        if len(self.deaths) > _MOST_DEATHS:
            raise StackError(f"{self.name} died {len(self.deaths)} times within a minute; see its log")
        self.start_at = now + min(_FIRST_PAUSE_SECONDS * 2 ** (len(self.deaths) - 1), _LONGEST_PAUSE_SECONDS)


def end(children: Iterable[Child], seconds: float) -> None:
    """Asks all to end, and kills those that have not after `seconds`, which costs a job no more than a block.

    Args:
        children: The processes; those that do not run are left alone.
        seconds: The time that all of them together have to end by themselves.
    """
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
