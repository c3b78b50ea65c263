"""Says when a part of the stack runs and yet does not serve: it answers no probe, or its heartbeat stands still."""

from typing import Final

from certrad.workers.local.probe import Probe, Question

_INTERVAL_SECONDS: Final = 3.0  # between the end of a probe and the next one
_TIMEOUT_SECONDS: Final = 5.0
_FAILURES: Final = 3
_SILENT_SECONDS: Final = 15.0
_START_SECONDS: Final = 120.0  # for the first answer
_FIRST_HEARTBEAT_SECONDS: Final = 600.0  # a cold disk may take minutes to import what a worker needs
_GAP_SECONDS: Final = 5.0  # between two looks; a longer one says that this process or its machine slept


class ProbeWatch:
    """Asks one part again and again, and counts the probes that failed in a row."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._probe: Probe | None = None
        self._pid: int | None = None
        self._answered = False
        self._failures = 0
        self._heard_at = 0.0
        self._looked_at = 0.0
        self._ask_at = 0.0

    @property
    def answers(self) -> bool:
        """Returns whether the last probe was answered."""
        return self._answered and self._failures == 0

    def probe(self, pid: int, now: float) -> bool:
        """Asks if it is time to, and judges what came back; never waits.

        Args:
            pid: The process of the part. Another one than before is given its time to start.
            now: Monotonic seconds.

        Returns:
            Whether three probes in a row, over at least 15 s, had no answer; a process that has never answered is
            given two minutes.
        """
        if pid != self._pid:
            self._pid, self._answered = pid, False
            self._begin(now)
        elif now - self._looked_at > _GAP_SECONDS:
            self._begin(now)
        self._looked_at = now
        self._ask(now)
        patience = _SILENT_SECONDS if self._answered else _START_SECONDS
        return self._failures >= _FAILURES and now - self._heard_at >= patience

    def close(self) -> None:
        """Gives up a probe that is on its way."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _begin(self, now: float) -> None:
        self.close()
        self._failures = 0
        self._heard_at = self._ask_at = now

    def _ask(self, now: float) -> None:
        if self._probe is None:
            if now < self._ask_at:
                return
            self._probe = Probe(self._question, deadline=now + _TIMEOUT_SECONDS)
        outcome = self._probe.outcome(now)
        if outcome is None:
            return
        self._probe, self._ask_at = None, now + _INTERVAL_SECONDS
        if outcome == "answered":
            self._answered, self._failures, self._heard_at = True, 0, now
        else:
            self._failures += 1


class HeartbeatWatch:
    """Follows the heartbeat of one worker, by whether it changes: no clock of another process is read.

    After more than 5 s in which Redis had no room or the machine slept, the count starts again.
    """

    def __init__(self, patience: float) -> None:
        """Begins with no process.

        Args:
            patience: Seconds that a heartbeat may stand still.
        """
        self._patience = patience
        self._pid: int | None = None
        self._heartbeat: bytes | None = None
        self._since = 0.0
        self._looked_at = 0.0

    def observe(self, pid: int, heartbeat: bytes | None, now: float) -> bool:
        """Compares a heartbeat with the one before.

        Args:
            pid: The process of the worker. Another one than before is given ten minutes for its first heartbeat.
            heartbeat: What Redis has of it now; None if it has none.
            now: Monotonic seconds.

        Returns:
            Whether it has not changed for too long. A heartbeat that Redis no longer has, has not changed.
        """
        if pid != self._pid:
            self._pid, self._heartbeat, self._since = pid, None, now
        elif now - self._looked_at > _GAP_SECONDS:
            self._since = now
        self._looked_at = now
        if heartbeat is not None and heartbeat != self._heartbeat:
            self._heartbeat, self._since = heartbeat, now
        patience = self._patience if self._heartbeat is not None else max(self._patience, _FIRST_HEARTBEAT_SECONDS)
        return now - self._since >= patience
