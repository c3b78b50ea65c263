"""The series to look at: each comes from a trigger or from the list of changes, and stays until it is done."""

import sqlite3
import time
from dataclasses import dataclass
from typing import Final, Self

from certrad.workers.contract.triggers import Trigger
from certrad.workers.pacs.database import Database

WHOLE_STUDY: Final = ""
WHOLE_REQUEST: Final = "-"
"""Stands where the UID of a series would, in the row of a request that was pushed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One series of the PACS to look at, or a study whose series are not listed yet.

    Attributes:
        id: Its number.
        trigger_id: The trigger that it comes from.
        study: The study's UID.
        series: The UID of the series; `WHOLE_STUDY` for a study.
        told: Whether a person waits for the outcome.
        attempts: How often it failed.
        reason: The code of what went wrong last.
    """

    id: int
    trigger_id: str
    study: str
    series: str
    told: bool
    attempts: int
    reason: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Self:
        """Returns the pull in a row of the table."""
        return cls(**{name: row[name] for name in cls.__slots__})


class Pulls:
    """The table of pulls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, trigger: Trigger) -> None:
        """Adds what a trigger asks for; a trigger that was added before changes nothing."""
        self._database.change(
            "INSERT OR IGNORE INTO pulls (trigger_id, told, study, series, state, due, changed) "
            "VALUES (?, ?, ?, ?, 'open', 0, ?)",
            trigger.id,
            trigger.event == "study",
            trigger.study,
            trigger.series or WHOLE_STUDY,
            time.time(),
        )

    def add_received(self, request_id: str, study: str, series: str) -> Pull:
        """Adds a series of a request that was pushed; one that was added before is returned as it is.

        Args:
            request_id: The request.
            study: The study's UID.
            series: The UID of the series.
        """
        self._database.change(
            "INSERT OR IGNORE INTO pulls (trigger_id, told, study, series, state, due, changed) "
            "VALUES (?, 0, ?, ?, 'received', 0, ?)",
            request_id,
            study,
            series,
            time.time(),
        )
        (row,) = self._database.rows("SELECT * FROM pulls WHERE trigger_id = ? AND series = ?", request_id, series)
        return Pull.of(row)

    def is_taken(self, request_id: str) -> bool:
        """Returns whether all of a request that was pushed has been looked at."""
        return bool(
            self._database.rows("SELECT 1 FROM pulls WHERE trigger_id = ? AND series = ?", request_id, WHOLE_REQUEST)
        )

    def take(self, request_id: str) -> None:
        """Notes that all of a request that was pushed has been looked at."""
        self._database.change(
            "INSERT OR IGNORE INTO pulls (trigger_id, told, study, series, state, due, changed) "
            "VALUES (?, 0, '', ?, 'listed', 0, ?)",
            request_id,
            WHOLE_REQUEST,
            time.time(),
        )

    def due(self, now: float, limit: int = 10) -> list[Pull]:
        """Returns the pulls to make now: those that wait longest first, so that one that fails goes behind the others.

        Args:
            now: Seconds since 1970.
            limit: How many at most.
        """
        rows = self._database.rows(
            "SELECT * FROM pulls WHERE state = 'open' AND due <= ? ORDER BY due, id LIMIT ?", now, limit
        )
        return [Pull.of(row) for row in rows]

    def expand(self, pull: Pull, series: list[str]) -> None:
        """Replaces the pull of a study by pulls of its series.

        Args:
            pull: The pull of the study.
            series: The UIDs of its series.
        """
        with self._database.transaction() as connection:
            (told,) = connection.execute("SELECT told FROM pulls WHERE id = ?", (pull.id,)).fetchone()
            for uid in series:
                connection.execute(
                    "INSERT OR IGNORE INTO pulls (trigger_id, told, study, series, state, due, changed) "
                    "VALUES (?, ?, ?, ?, 'open', 0, ?)",
                    (pull.trigger_id, told, pull.study, uid, time.time()),
                )
            state = "listed" if series else "ignored"
            connection.execute(
                "UPDATE pulls SET state = ?, reason = ?, changed = ? WHERE id = ?",
                (state, None if series else "the study has no series", time.time(), pull.id),
            )

    def failed(self) -> list[Pull]:
        """Returns the pulls that failed, that nobody has given up, and that no later one has made good."""
        rows = self._database.rows(
            "SELECT * FROM pulls WHERE state = 'failed' AND NOT EXISTS (SELECT 1 FROM pulls AS later WHERE "
            "later.study = pulls.study AND later.series = pulls.series AND later.id > pulls.id "
            "AND later.state IN ('done', 'listed', 'ignored')) ORDER BY id"
        )
        return [Pull.of(row) for row in rows]

    def retry(self) -> int:
        """Makes the failed pulls again, and returns their number."""
        found = [pull.id for pull in self.failed()]
        statement = "UPDATE pulls SET state = 'open', attempts = 0, due = 0, reason = NULL, changed = ? WHERE id = ?"
        return sum(self._database.change(statement, time.time(), number) for number in found)

    def drop(self) -> int:
        """Gives the failed pulls up, and returns their number."""
        return self._database.change(
            "UPDATE pulls SET state = 'dropped', changed = ? WHERE state = 'failed'", time.time()
        )

    def postpone(self, pull: Pull, *, due: float, reason: str, counts: bool) -> None:
        """Puts a pull off.

        Args:
            pull: The pull.
            due: When to try again, in seconds since 1970.
            reason: The code of what went wrong.
            counts: Whether the attempt counts.
        """
        self._database.change(
            "UPDATE pulls SET due = ?, reason = ?, attempts = attempts + ?, changed = ? WHERE id = ?",
            due,
            reason,
            int(counts),
            time.time(),
            pull.id,
        )

    def end(self, pull: Pull, state: str, *, rule: str | None, reason: str | None) -> None:
        """Ends a pull.

        Args:
            pull: The pull.
            state: `ignored` or `failed`.
            rule: The rule that decided.
            reason: Why.
        """
        self._database.change(
            "UPDATE pulls SET state = ?, rule = ?, reason = ?, changed = ? WHERE id = ?",
            state,
            rule,
            reason,
            time.time(),
            pull.id,
        )
