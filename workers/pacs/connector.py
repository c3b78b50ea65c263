"""The connector: takes triggers, looks at series, certifies, delivers; every step survives a kill at any moment."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Final

import structlog

from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.contract.rules import Rules
from certrad.workers.contract.triggers import TriggerSpool
from certrad.workers.pacs.certifying import Certifying
from certrad.workers.pacs.changes import Changes
from certrad.workers.pacs.connections import Connections
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.delivering import Delivering
from certrad.workers.pacs.failures import ExchangeError
from certrad.workers.pacs.instances import Instances
from certrad.workers.pacs.looking import Looking
from certrad.workers.pacs.notes import PACS, Notes
from certrad.workers.pacs.outbox import Outbox
from certrad.workers.pacs.outcomes import outcome
from certrad.workers.pacs.patience import Patience
from certrad.workers.pacs.pulls import Pulls
from certrad.workers.pacs.receiving import Receiving
from certrad.workers.pacs.service import Service
from certrad.workers.settings import ConnectorSettings

_TICK_SECONDS: Final = 0.25
_TIDY_SECONDS: Final = 3600.0
_OUTCOME_SECONDS: Final = 86_400.0
_UNFINISHED_SECONDS: Final = 86_400.0  # a body may come as slowly as CERTRAD_MIN_BODY_RATE
_ORTHANC: Final = "orthanc"

_log = structlog.get_logger()


class Connector:
    """One connector; a data directory has one."""

    def __init__(self, settings: ConnectorSettings, rules: Rules, trail: AuditTrail) -> None:
        """Opens the database and the clients.

        Args:
            settings: The settings.
            rules: The rules.
            trail: The audit trail.

        Raises:
            ValueError: A setting is missing or wrong.
            OSError: The data directory cannot be used.
            sqlite3.Error: The database cannot be used.
        """
        self._settings = settings
        self._closing = ExitStack()
        self._database = Database(settings.pacs_dir)
        self._closing.callback(self._database.close)
        connections = Connections(settings, self._closing)
        pacs = connections.pacs()
        self._spool = TriggerSpool(settings.pacs_dir)
        self._pulls = Pulls(self._database)
        self._patience = Patience(settings.pacs_retry_seconds, settings.pacs_retry_max_seconds)
        self._trail = trail
        notes = Notes(trail)
        instances, outbox = Instances(self._database), Outbox(self._database)
        self._looking = Looking(
            pulls=self._pulls,
            instances=instances,
            outbox=outbox,
            pacs=pacs,
            rules=rules,
            patience=self._patience,
            most_attempts=settings.pacs_attempts,
            notes=notes,
        )
        self._received = ReceivedSpool(settings.pacs_dir)
        self._receiving = Receiving(
            spool=self._received,
            pulls=self._pulls,
            instances=instances,
            outbox=outbox,
            rules=rules,
            hidden=settings.data_dir.resolve(),
            notes=notes,
        )
        self._certifying = Certifying(
            instances=instances,
            pacs=pacs,
            service=Service(connections.service(), settings.url),
            spool=self._received,
            patience=self._patience,
            key=self._database.key,
            most_attempts=settings.pacs_attempts,
            notes=notes,
        )
        self._delivering = Delivering(
            outbox=outbox,
            destinations=connections.destinations(rules, pacs),
            patience=self._patience,
            most_attempts=settings.pacs_attempts,
            notes=notes,
        )
        self._changes = None
        if settings.orthanc_url is not None:
            self._changes = Changes(connections.orthanc(), settings.orthanc_url, self._database)
        self._look_at_changes = 0.0
        self._tidy_at = 0.0

    def run(self, wait: Callable[[float], bool]) -> None:
        """Works until it is asked to stop.

        Args:
            wait: Waits some seconds, and returns whether to stop.
        """
        open_ones = self._database.rows("SELECT DISTINCT trigger_id FROM pulls WHERE told")
        self._tell(row["trigger_id"] for row in open_ones)
        while not wait(_TICK_SECONDS):
            self.step(time.time())

    def step(self, now: float) -> None:
        """Does what is due.

        Args:
            now: Seconds since 1970.
        """
        self._take_triggers()
        self._reconcile(now)
        self._receiving.step()
        self._tell(self._looking.step(now))
        self._tell(self._triggers_of("SELECT trigger_id FROM pulls WHERE id = ?", self._certifying.step(now)))
        of_instance = "SELECT trigger_id FROM pulls JOIN instances ON pulls.id = pull WHERE instances.id = ?"
        delivered = self._delivering.step(now)
        self._tell(self._triggers_of(of_instance, delivered))
        if delivered and not self._database.rows("SELECT 1 FROM deliveries WHERE state = 'waiting' LIMIT 1"):
            self._database.forget_deleted()
        if now >= self._tidy_at:
            self._tidy(now)
            self._tidy_at = now + _TIDY_SECONDS

    def close(self) -> None:
        """Closes the clients and the database."""
        self._closing.close()

    def _take_triggers(self) -> None:
        for trigger in self._spool.waiting():
            self._pulls.add(trigger)
            if trigger.event == "study":
                self._tell([trigger.id])
            self._spool.remove(trigger)

    def _reconcile(self, now: float) -> None:
        if self._changes is None or now < self._look_at_changes:
            return
        self._look_at_changes = now + self._settings.pacs_poll_seconds
        if self._patience.is_left_alone(_ORTHANC, now):
            return
        try:
            found = self._changes.step()
            self._patience.answered(_ORTHANC)
        except ExchangeError as error:
            self._patience.silent(_ORTHANC, now)
            _log.warning("changes not read", reason=error.code)
            return
        if found:
            _log.info("series found in the list of changes", series=found)

    def _triggers_of(self, statement: str, numbers: Iterable[int]) -> set[str]:
        """Returns the triggers that a change concerns, and every followed trigger that changed within a day.

        Those may name the same series: their outcomes tell of its instances too.

        Args:
            statement: Selects the triggers of one number.
            numbers: The numbers of what has changed.
        """
        found = {row["trigger_id"] for number in numbers for row in self._database.rows(statement, number)}
        if found:
            recent = "SELECT DISTINCT trigger_id FROM pulls WHERE told AND changed >= ?"
            found |= {row["trigger_id"] for row in self._database.rows(recent, time.time() - _OUTCOME_SECONDS)}
        return found

    def _tell(self, trigger_ids: Iterable[str]) -> None:
        for trigger_id in trigger_ids:
            if (told := outcome(self._database, trigger_id)) is not None:
                self._spool.tell(trigger_id, told)

    def _tidy(self, now: float) -> None:
        """Forgets what has ended so long ago that nobody asks for it."""
        before = now - 86_400 * self._settings.pacs_retention_days
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM deliveries WHERE state IN ('delivered', 'dropped') AND changed < ?", (before,)
            )
            connection.execute(
                "DELETE FROM instances WHERE state IN ('ended', 'failed', 'dropped') AND changed < ? "
                "AND id NOT IN (SELECT instance FROM deliveries)",
                (before,),
            )
            connection.execute(
                "DELETE FROM pulls WHERE state != 'open' AND changed < ? AND id NOT IN (SELECT pull FROM instances)",
                (before,),
            )
        with suppress(OSError):  # the next hour tries again
            self._trail.expire(days=self._settings.audit_retention_days, process=PACS)
        self._spool.forget_outcomes(now - _OUTCOME_SECONDS)
        self._received.forget_unfinished(now - _UNFINISHED_SECONDS)
