"""The outbox: what must reach a PACS, kept until the PACS has said that it has stored it."""

import sqlite3
import time
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
        due: When it is tried next, in seconds since 1970.
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

    def due(self, now: float, limit: int = 10) -> list[Delivery]:
        """Returns the deliveries to try now, oldest first.

        Args:
            now: Seconds since 1970.
            limit: How many at most.
        """
        rows = self._database.rows(
            "SELECT * FROM deliveries WHERE state = 'waiting' AND due <= ? ORDER BY id LIMIT ?", now, limit
        )
        return [Delivery.of(row) for row in rows]

    def content(self, delivery: Delivery) -> bytes:
        """Returns the bytes of a delivery."""
        (row,) = self._database.rows("SELECT content FROM deliveries WHERE id = ?", delivery.id)
        return bytes(row["content"])

    def delivered(self, delivery: Delivery) -> None:
        """Notes that the PACS has stored a delivery, and deletes its bytes."""
        self._database.change(
            "UPDATE deliveries SET state = 'delivered', content = NULL, reason = NULL, changed = ? WHERE id = ?",
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
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, due = ?, reason = ?, changed = ? WHERE id = ?",
            "put_aside" if put_aside else "waiting",
            due,
            reason,
            time.time(),
            delivery.id,
        )

    def unreachable(self, destination: str, *, due: float, reason: str) -> None:
        """Puts everything for a destination off that does not answer; no attempt counts.

        Args:
            destination: The name of the destination.
            due: When to try again, in seconds since 1970.
            reason: The code of what went wrong.
        """
        self._database.change(
            "UPDATE deliveries SET due = ?, reason = ?, changed = ? WHERE state = 'waiting' AND destination = ?",
            due,
            reason,
            time.time(),
            destination,
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
            "UPDATE deliveries SET state = 'waiting', attempts = 0, due = 0, changed = ? "
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
