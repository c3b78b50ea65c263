"""The instances that the connector certifies: chosen, submitted as a job, and ended; each once for its settings."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Self

from certrad.workers.contract.rules import Rule
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.pulls import Pull

State = Literal["chosen", "submitted", "ended", "failed", "dropped"]
MOST_JOBS: Final = 4
"""How many jobs are made of one instance until a person asks for more."""
OUTPUTS: Final[Mapping[str, str]] = {"sr": "structured report", "sc": "secondary capture"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance that is certified under one rule.

    Attributes:
        id: Its number.
        pull: The pull that chose it.
        study: The study's UID.
        series: The UID of the series.
        sop: The UID of the instance.
        settings: The digest of everything that decides the result beside the instance.
        rule: The name of the rule.
        fields: The fields of the request.
        outputs: What is delivered.
        destination: Where.
        state: How far it is.
        job: The id of its job, once it is submitted.
        round: How many jobs were given up before this one.
        attempts: How often this step failed.
        reason: The code of what went wrong last.
        received: The file in which it was pushed; None if it is retrieved from the PACS.
    """

    id: int
    pull: int
    study: str
    series: str
    sop: str
    settings: str
    rule: str
    fields: Mapping[str, str]
    outputs: Sequence[str]
    destination: str
    state: State
    job: str | None
    round: int
    attempts: int
    reason: str | None
    received: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Self:
        """Returns the instance in a row of the table."""
        values = {name: row[name] for name in cls.__slots__}
        return cls(**{**values, "fields": json.loads(row["fields"]), "outputs": json.loads(row["outputs"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One output of a job, as the service answered it: its kind, the UID it bears and its bytes."""

    output: str
    sop: str
    content: bytes


def settings_digest(rule: Rule) -> str:
    """Returns the digest of what a rule asks for: rules of other names that ask for the same have the same."""
    asked = {"fields": dict(rule.fields), "destination": rule.destination, "outputs": list(rule.outputs)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Instances:
    """The table of instances."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def handled(self, series: str, rule: Rule) -> list[str]:
        """Returns the UIDs of a series that were chosen under the settings of a rule before."""
        rows = self._database.rows(
            "SELECT sop FROM instances WHERE series = ? AND settings = ?", series, settings_digest(rule)
        )
        return [row["sop"] for row in rows]

    def received(self) -> set[str]:
        """Returns the files of received instances that are still needed."""
        rows = self._database.rows(
            "SELECT received FROM instances WHERE state IN ('chosen', 'submitted') AND received IS NOT NULL"
        )
        return {row["received"] for row in rows}

    def choose(
        self, pull: Pull, rule: Rule, chosen: Sequence[str], received: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Ends a pull with the instances that its rule chooses, in one transaction.

        Args:
            pull: The pull.
            rule: The rule that decided.
            chosen: The UIDs of the instances.
            received: The files of those that were pushed, by UID.
        """
        with self._database.transaction() as connection:
            for sop in chosen:
                connection.execute(
                    "INSERT OR IGNORE INTO instances (pull, study, series, sop, settings, rule, fields, outputs, "
                    "destination, state, due, changed, received) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'chosen', 0, ?, ?)",
                    (
                        pull.id,
                        pull.study,
                        pull.series,
                        sop,
                        settings_digest(rule),
                        rule.name,
                        json.dumps(dict(rule.fields)),
                        json.dumps(list(rule.outputs)),
                        rule.destination,
                        time.time(),
                        received.get(sop),
                    ),
                )
            connection.execute(
                "UPDATE pulls SET state = 'done', rule = ?, reason = NULL, changed = ? WHERE id = ?",
                (rule.name, time.time(), pull.id),
            )

    def due(self, state: State, now: float, limit: int = 20) -> list[Instance]:
        """Returns the instances in a state that are due, oldest first.

        Args:
            state: The state.
            now: Seconds since 1970.
            limit: How many at most.
        """
        rows = self._database.rows(
            "SELECT * FROM instances WHERE state = ? AND due <= ? ORDER BY received IS NULL, due, id LIMIT ?",
            state,
            now,
            limit,
        )
        return [Instance.of(row) for row in rows]

    def submitted(self, instance: Instance, job: str, *, due: float) -> None:
        """Notes the job of an instance, and when to ask for it."""
        self._database.change(
            "UPDATE instances SET state = 'submitted', job = ?, attempts = 0, reason = NULL, due = ?, changed = ? "
            "WHERE id = ?",
            job,
            due,
            time.time(),
            instance.id,
        )

    def postpone(self, instance: Instance, *, due: float, reason: str | None = None, counts: bool = True) -> None:
        """Puts the next step of an instance off.

        Args:
            instance: The instance.
            due: When to try again, in seconds since 1970.
            reason: The code of what went wrong; None if it is only not ready.
            counts: Whether the attempt counts.
        """
        self._database.change(
            "UPDATE instances SET due = ?, reason = ?, attempts = attempts + ?, changed = ? WHERE id = ?",
            due,
            reason,
            int(counts),
            time.time(),
            instance.id,
        )

    def again(self, instance: Instance, *, due: float, reason: str) -> None:
        """Submits an instance again, as another job: the one before has failed or its outputs are gone."""
        self._database.change(
            "UPDATE instances SET state = 'chosen', round = round + 1, due = ?, reason = ?, changed = ? WHERE id = ?",
            due,
            reason,
            time.time(),
            instance.id,
        )

    def fail(self, instance: Instance, reason: str) -> None:
        """Ends an instance without a result."""
        self._database.change(
            "UPDATE instances SET state = 'failed', reason = ?, changed = ? WHERE id = ?",
            reason,
            time.time(),
            instance.id,
        )

    def failed(self) -> list[Instance]:
        """Returns the instances that ended without a result and that nobody has given up, oldest first."""
        return [
            Instance.of(row)
            for row in self._database.rows("SELECT * FROM instances WHERE state = 'failed' ORDER BY id")
        ]

    def retry(self, number: int | None = None, *, series: str | None = None, rule: Rule | None = None) -> int:
        """Certifies failed instances again, with as many new jobs as the first time.

        One that was pushed is retrieved from the PACS, because its file is gone.

        Args:
            number: The number of one; None for all of them.
            series: Only those of this series.
            rule: Only those that were chosen under the settings of this rule.

        Returns:
            How many there are.
        """
        return self._database.change(
            "UPDATE instances SET state = 'chosen', job = NULL, round = (round / ? + 1) * ?, attempts = 0, due = 0, "
            "reason = NULL, received = NULL, changed = ? WHERE state = 'failed' AND id = COALESCE(?, id) "
            "AND series = COALESCE(?, series) AND settings = COALESCE(?, settings)",
            MOST_JOBS,
            MOST_JOBS,
            time.time(),
            number,
            series,
            None if rule is None else settings_digest(rule),
        )

    def drop(self, number: int | None) -> int:
        """Gives failed instances up: they are no longer listed.

        Args:
            number: The number of one; None for all of them.

        Returns:
            How many there are.
        """
        return self._database.change(
            "UPDATE instances SET state = 'dropped', changed = ? WHERE state = 'failed' AND id = COALESCE(?, id)",
            time.time(),
            number,
        )

    def end(self, instance: Instance, reports: Sequence[Report], *, reason: str | None = None) -> None:
        """Ends an instance and puts its outputs into the outbox, in one transaction.

        An output that the outbox has already, by its UID, is not put there again.

        Args:
            instance: The instance.
            reports: Its outputs.
            reason: The code of why some are missing.
        """
        now = time.time()
        with self._database.transaction() as connection:
            if not connection.execute("SELECT 1 FROM instances WHERE id = ?", (instance.id,)).fetchone():
                return  # it was erased meanwhile
            for report in reports:
                connection.execute(
                    "INSERT OR IGNORE INTO deliveries (instance, output, sop, study, destination, content, state, due, "
                    "created, changed) VALUES (?, ?, ?, ?, ?, ?, 'waiting', 0, ?, ?)",
                    (
                        instance.id,
                        report.output,
                        report.sop,
                        instance.study,
                        instance.destination,
                        report.content,
                        now,
                        now,
                    ),
                )
            connection.execute(
                "UPDATE instances SET state = 'ended', reason = ?, changed = ? WHERE id = ?",
                (reason, now, instance.id),
            )
