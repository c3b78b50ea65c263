"""The plan of callbacks: when one is tried again, which receivers are left alone until then, when one is given up."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from certrad.workers.callbacks.note import Note
from certrad.workers.callbacks.sending import Answer
from certrad.workers.pacs.patience import Patience

_JITTER: Final = 0.25
_LONGEST_SILENCE: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Plans attempts.

    Attributes:
        attempts: Attempts after which a callback is given up.
        seconds: Age at which a callback is given up.
        first_wait: Seconds between the first attempt and the second; each later wait doubles.
        longest_wait: Longest wait between two attempts.
        chance: Returns a number in [0, 1), so that not everyone who waits comes at once.
        patience: Which receivers do not answer.
    """

    attempts: int
    seconds: float
    first_wait: float
    longest_wait: float
    chance: Callable[[], float] = random.random
    patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", Patience(self.first_wait, min(_LONGEST_SILENCE, self.longest_wait)))

    def is_over(self, note: Note, now: float) -> bool:
        """Returns whether a callback is too old to be tried."""
        return now - note.began_at > self.seconds

    def is_last(self, note: Note) -> bool:
        """Returns whether no attempt follows the one under way."""
        return note.attempts + 1 >= self.attempts

    def next_attempt_at(self, note: Note, answer: Answer, now: float) -> float:
        """Returns when to try again, in seconds since 1970.

        Args:
            note: The note as it was before the attempt.
            answer: How the attempt ended.
            now: Seconds since 1970.
        """
        wait = Patience(self.first_wait, self.longest_wait).wait(note.attempts)
        return now + max(answer.retry_after, wait * (1 + _JITTER * (2 * self.chance() - 1)))

    def left_alone_until(self, host: str, now: float) -> float | None:
        """Returns until when a receiver that did not answer is left alone; None if it may be called.

        Args:
            host: Host and port.
            now: Seconds since 1970.
        """
        return self.patience.until(host) if self.patience.is_left_alone(host, now) else None

    def note_answer(self, host: str, answer: Answer, now: float) -> None:
        """Notes whether a receiver answers.

        Args:
            host: Host and port.
            answer: How an attempt ended.
            now: Seconds since 1970.
        """
        if answer.answered:
            self.patience.answered(host)
        else:
            self.patience.silent(host, now)
