"""The process that sends callbacks: it takes notes that are due, delivers them, and plans the next attempts."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

import structlog

from certrad.workers.callbacks.message import message
from certrad.workers.callbacks.note import Note
from certrad.workers.callbacks.plan import Plan
from certrad.workers.callbacks.sending import Answer, Sending
from certrad.workers.callbacks.store import CallbackStore
from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.audit_trail import AuditTrail

_AT_ONCE: Final = 8
_AT_ONCE_TO_ONE: Final = 2
_READ_AT_ONCE: Final = 100
_PAUSE_SECONDS: Final = 0.25
_BUSY_SECONDS: Final = 1.0
_SLACK_SECONDS: Final = 60.0  # for the resolver, and for a Redis that is away when an attempt has ended
_PROCESS: Final = "callbacks"

_log = structlog.get_logger()


class Callbacks:
    """Sends callbacks until it has to stop; any number of processes may do so.

    A slow receiver keeps at most two of eight threads, and nobody else waits for one that does not answer.
    """

    def __init__(
        self,
        store: CallbackStore,
        sending: Sending,
        plan: Plan,
        trail: AuditTrail,
        secrets: Sequence[str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepares to send.

        Args:
            store: The notes.
            sending: Sends one message.
            plan: When to try again, and when to give up.
            trail: The audit trail.
            secrets: The secrets in use, each of which signs.
            clock: Seconds since 1970.
        """
        self._store = store
        self._sending = sending
        self._plan = plan
        self._trail = trail
        self._secrets = secrets
        self._clock = clock
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="callback")
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, wait: Callable[[float], bool]) -> None:
        """Sends until it has to stop; what is under way then is finished.

        Args:
            wait: Waits some seconds, and returns whether to stop.
        """
        try:
            while not wait(_PAUSE_SECONDS):
                self.step()
        finally:
            self._threads.shutdown(cancel_futures=True)

    def step(self) -> None:
        """Takes the notes that are due and can be sent now, and puts off the others."""
        now = self._clock()
        for note in self._store.due(now, limit=_READ_AT_ONCE):
            host = urlsplit(note.address).netloc
            if self._plan.is_over(note, now):
                self._give_up(note, note.reason or "too_old", attempts=0)
            elif (until := self._plan.left_alone_until(host, now)) is not None:
                self._store.take(note, now, until=until)
            elif self._busy[host] >= _AT_ONCE_TO_ONE:
                self._store.take(note, now, until=now + _BUSY_SECONDS)
            elif self._busy.total() >= _AT_ONCE:
                return
            elif self._store.take(note, now, until=now + self._sending.seconds + _SLACK_SECONDS):
                self._count(host, 1)
                self._threads.submit(self._attempt_and_log, note, host)

    def attempt(self, note: Note) -> Answer:
        """Makes one attempt to deliver a callback, and stores how it ended.

        Args:
            note: The note, which the caller has taken.
        """
        now = self._clock()
        answer = self._sending.send(note.address, message(note, self._secrets, now=now), now=now)
        self._plan.note_answer(urlsplit(note.address).netloc, answer, self._clock())
        if answer.delivered:
            if self._store.delivered(note):
                self._record(AuditEvent(name="callback_sent", process=_PROCESS, job=note.job))
        elif answer.retryable and not self._plan.is_last(note):
            due = self._plan.next_attempt_at(note, answer, self._clock())
            self._store.plan_retry(note, due=due, reason=answer.reason)
            _log.info("callback not delivered", job_id=note.job, reason=answer.reason, attempt=note.attempts + 1)
        else:
            self._give_up(note, answer.reason, attempts=1)
        return answer

    def _attempt_and_log(self, note: Note, host: str) -> None:
        try:
            self.attempt(note)
        except Exception as error:  # it is due again when the time it was taken for is over
            _log.error("callback not sent", job_id=note.job, exc_info=error)
        finally:
            self._count(host, -1)

    def _give_up(self, note: Note, reason: str, *, attempts: int) -> None:
        if self._store.give_up(note, self._clock(), reason=reason, attempts=attempts):
            _log.warning("callback given up", job_id=note.job, reason=reason, attempts=note.attempts + attempts)
            details = {"reason": reason}
            self._record(
                AuditEvent(name="callback_given_up", process=_PROCESS, job=note.job, details=details, failed=True)
            )

    def _record(self, event: AuditEvent) -> None:
        with self._lock:
            self._trail.record(event)

    def _count(self, host: str, change: int) -> None:
        with self._lock:
            self._busy[host] += change
            if not self._busy[host]:
                del self._busy[host]
