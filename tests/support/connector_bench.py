"""The three steps of the connector, and the taking of pushed images, on a clock that the test moves."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.contract.rules_file import parse_rules
from certrad.workers.contract.triggers import Trigger
from certrad.workers.pacs.certifying import Certifying
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.delivering import Delivering
from certrad.workers.pacs.instances import Instances
from certrad.workers.pacs.looking import Looking
from certrad.workers.pacs.notes import Notes
from certrad.workers.pacs.outbox import Delivery, Outbox
from certrad.workers.pacs.patience import Patience
from certrad.workers.pacs.pulls import Pulls
from certrad.workers.pacs.receiving import Receiving
from certrad.workers.pacs.service import Service
from tests.support.fake_pacs import FakePacs, FakeService

RULES = """
[[rule]]
name = "hold back"
match = { modality = "CT" }
ignore = true
reason = "not here"

[[rule]]
name = "radiographs"
match = { modality = "DX" }
task = "mednist"
instances = "all"
max_instances = 3
"""
HOUR = 3600.0


@dataclass
class Bench:
    """A connector whose clock the test moves."""

    pacs_dir: Path
    pacs: FakePacs
    service: FakeService
    now: float = 1_000_000.0
    rules: str = RULES

    def __post_init__(self) -> None:
        self.database = Database(self.pacs_dir)
        self.restart()

    def restart(self) -> None:
        """Begins anew on the same database, as after a kill."""
        self.database.close()
        self.database = Database(self.pacs_dir)
        instances, self.outbox = Instances(self.database), Outbox(self.database)
        self.pulls = Pulls(self.database)
        patience = Patience(1.0, 60.0)
        notes = Notes(AuditTrail(self.pacs_dir / "audit-trail"))
        pacs = self.pacs.client()
        self.looking = Looking(
            pulls=self.pulls,
            instances=instances,
            outbox=self.outbox,
            pacs=pacs,
            rules=parse_rules(self.rules),
            patience=patience,
            most_attempts=3,
            notes=notes,
        )
        self.spool = ReceivedSpool(self.pacs_dir)
        self.receiving = Receiving(
            spool=self.spool,
            pulls=self.pulls,
            instances=instances,
            outbox=self.outbox,
            rules=parse_rules(self.rules),
            hidden=self.pacs_dir,
            notes=notes,
        )
        self.certifying = Certifying(
            instances=instances,
            pacs=pacs,
            spool=self.spool,
            service=Service(httpx.Client(transport=httpx.MockTransport(self.service.answer)), "http://service.test"),
            patience=patience,
            key=self.database.key,
            most_attempts=3,
            notes=notes,
        )
        self.delivering = Delivering(
            outbox=self.outbox, destinations={"pacs": pacs}, patience=patience, most_attempts=3, notes=notes
        )

    def trigger(self, name: str, series: str | None = "1.2.3") -> None:
        """A person asks for the study."""
        self.pulls.add(Trigger(id=name, event="study", study="1.2", series=series))

    def run(self, rounds: int = 8) -> None:
        """Lets an hour pass in each round."""
        for _ in range(rounds):
            self.receiving.step()
            self.looking.step(self.now)
            self.certifying.step(self.now)
            self.delivering.step(self.now)
            self.now += HOUR

    def deliveries(self) -> list[Delivery]:
        """All deliveries."""
        return self.outbox.listed(all_of_them=True)

    def reasons(self, table: str) -> list[tuple[str, str | None]]:
        """State and reason of every row of a table."""
        return [(row["state"], row["reason"]) for row in self.database.rows(f"SELECT state, reason FROM {table}")]
