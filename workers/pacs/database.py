"""The connector's durable state: one SQLite database, each change of it one transaction on the disk."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pulls (
    id INTEGER PRIMARY KEY,
    trigger_id TEXT NOT NULL,
    told INTEGER NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    changed REAL NOT NULL,
    rule TEXT,
    reason TEXT,
    UNIQUE (trigger_id, series)
);
CREATE INDEX IF NOT EXISTS pulls_due ON pulls (state, due);
CREATE TABLE IF NOT EXISTS instances (
    id INTEGER PRIMARY KEY,
    pull INTEGER NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    sop TEXT NOT NULL,
    settings TEXT NOT NULL,
    rule TEXT NOT NULL,
    fields TEXT NOT NULL,
    outputs TEXT NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    job TEXT,
    round INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    changed REAL NOT NULL,
    reason TEXT,
    received TEXT,
    UNIQUE (sop, settings)
);
CREATE INDEX IF NOT EXISTS instances_due ON instances (state, due);
CREATE INDEX IF NOT EXISTS instances_of_series ON instances (series, settings);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    output TEXT NOT NULL,
    sop TEXT NOT NULL,
    study TEXT NOT NULL,
    destination TEXT NOT NULL,
    content BLOB,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    reason TEXT,
    UNIQUE (sop, destination)
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due);
"""
_KEY: Final = "idempotency_key"


class Database:
    """The connection of one process to the database, which it makes if there is none."""

    def __init__(self, pacs_dir: Path) -> None:
        """Opens the database.

        Raises:
            OSError: The folder cannot be made.
            sqlite3.Error: The file is no database, or cannot be written.
        """
        pacs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = pacs_dir / "connector.sqlite3"
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self.transaction() as execute:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                execute.execute(statement)
            execute.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (_KEY, secrets.token_hex(32)))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection inside a transaction; an exception takes everything back."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:  # whatever it was, it is raised again; half a change must not stay
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Returns the rows of a query."""
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, *values: object) -> int:
        """Changes rows in a transaction of its own, and returns their number."""
        return self._connection.execute(statement, values).rowcount

    def fact(self, name: str) -> str | None:
        """Returns the value of a fact, such as a position; None if it has none yet."""
        rows = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0]["value"]) if rows else None

    def forget_fact(self, name: str) -> bool:
        """Deletes a fact, and returns whether there was one."""
        return bool(self.change("DELETE FROM facts WHERE name = ?", name))

    @property
    def key(self) -> bytes:
        """Returns the secret under which UIDs are hidden."""
        return bytes.fromhex(self.fact(_KEY) or "")

    def forget_deleted(self) -> None:
        """Empties the log in which SQLite keeps former pages, with the bytes that were deleted since."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
