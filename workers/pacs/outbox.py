"""The outbox: what must reach a PACS, kept until the PACS has said that it has stored it."""

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

from certrad.workers.pacs.database import Database

DeliveryState = Literal["waiting", "delivered", "put_aside", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One instance on its way to a PACS.

    Attributes:
        id: Its number.
        instance: The number of the instance that it is about.
        output: `sr` or `sc`.
        sop: The UID of the instance.
        study: The study's UID.
        destination: The name of the destination.
        state: How far it is.
        attempts: How often the PACS refused it.
        due: When it is tried next, in seconds since 1970; negative if somebody wants it tried at once.
        created: When it was put there.
        reason: The code of what went wrong last.
    """

    id: int
    instance: int
    output: str
    sop: str
    study: str
    destination: str
    state: DeliveryState
    attempts: int
    due: float
    created: float
    reason: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Self:
        """Returns the delivery in a row of the table."""
        return cls(**{name: row[name] for name in cls.__slots__})


class Outbox:
    """The table of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def destinations(self) -> set[str]:
        """Returns the names of the destinations for which something waits."""
        rows = self._database.rows("SELECT DISTINCT destination FROM deliveries WHERE state = 'waiting'")
        return {row["destination"] for row in rows}

    def due(self, now: float, *, without: Collection[str] = (), limit: int = 10) -> list[Delivery]:
        """Returns the deliveries to try now: those that wait longest first, so that one that fails goes behind.

        Args:
            now: Seconds since 1970.
            without: Destinations that are left alone, except for deliveries that somebody wants tried at once.
            limit: How many at most.
        """
        marks = ", ".join("?" * len(without))
        rows = self._database.rows(
            "SELECT * FROM deliveries WHERE state = 'waiting' AND due <= ? "  # noqa: S608  # question marks
            f"AND (due < 0 OR destination NOT IN ({marks})) ORDER BY due, id LIMIT ?",
            now,
            *without,
            limit,
        )
        return [Delivery.of(row) for row in rows]

    def content(self, delivery: Delivery) -> bytes | None:
        """Returns the bytes of a delivery; None if it no longer waits."""
        rows = self._database.rows("SELECT content FROM deliveries WHERE id = ? AND state = 'waiting'", delivery.id)
        return bytes(rows[0]["content"]) if rows and rows[0]["content"] is not None else None

    def delivered(self, delivery: Delivery) -> None:
        """Notes that the PACS has stored a delivery, and deletes its bytes."""
        self._database.change(
            "UPDATE deliveries SET state = 'delivered', content = NULL, reason = NULL, changed = ? "
            "WHERE id = ? AND state = 'waiting'",
            time.time(),
            delivery.id,
        )

    def refused(self, delivery: Delivery, *, due: float, reason: str, put_aside: bool) -> None:
        """Notes that the PACS refused a delivery.

        Args:
            delivery: The delivery.
            due: When to try again, in seconds since 1970.
            reason: The code of the refusal.
            put_aside: Whether it is put aside until somebody looks at it.
        """
        self._database.change(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, due = ?, reason = ?, changed = ? "
            "WHERE id = ? AND state = 'waiting'",
            "put_aside" if put_aside else "waiting",
            due,
            reason,
            time.time(),
            delivery.id,
        )

    def postpone(self, delivery: Delivery, *, due: float, reason: str) -> None:
        """Puts a delivery off whose destination does not answer; no attempt counts.

        Args:
            delivery: The delivery.
            due: When to try again, in seconds since 1970.
            reason: The code of what went wrong.
        """
        self._database.change(
            "UPDATE deliveries SET due = ?, reason = ?, changed = ? WHERE id = ? AND state = 'waiting'",
            due,
            reason,
            time.time(),
            delivery.id,
        )

    def is_own(self, sop: str) -> bool:
        """Returns whether an instance is one of those that were made here."""
        return bool(self._database.rows("SELECT 1 FROM deliveries WHERE sop = ? LIMIT 1", sop))

    def listed(self, *, all_of_them: bool) -> list[Delivery]:
        """Returns the deliveries that wait or were put aside, oldest first.

        Args:
            all_of_them: Whether to return those that have ended too.
        """
        states = ("waiting", "put_aside", "delivered", "dropped")[: 4 if all_of_them else 2]
        marks = ", ".join("?" * len(states))
        rows = self._database.rows(f"SELECT * FROM deliveries WHERE state IN ({marks}) ORDER BY id", *states)  # noqa: S608  # question marks
        return [Delivery.of(row) for row in rows]

    def retry(self, number: int | None) -> int:
        """Tries deliveries at once that wait or were put aside.

        Args:
            number: The number of one; None for all of them.

        Returns:
            How many there are.
        """
        return self._database.change(
            "UPDATE deliveries SET state = 'waiting', attempts = 0, due = -1, changed = ? "
            "WHERE state IN ('waiting', 'put_aside') AND id = COALESCE(?, id)",
            time.time(),
            number,
        )

    def drop(self, number: int) -> int:
        """Gives a delivery up that waits or was put aside, and deletes its bytes.

        Args:
            number: Its number.

        Returns:
            1, or 0 if there is none.
        """
        return self._database.change(
            "UPDATE deliveries SET state = 'dropped', content = NULL, changed = ? "
            "WHERE state IN ('waiting', 'put_aside') AND id = ?",
            time.time(),
            number,
        )
