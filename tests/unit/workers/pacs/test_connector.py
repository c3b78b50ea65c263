"""The connector expires its part of the audit trail."""

import time
from contextlib import closing
from pathlib import Path

from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.rules import Rules
from certrad.workers.pacs.connector import Connector
from certrad.workers.settings import ConnectorSettings

DAY = 86_400.0


def test_audit_trail_of_the_connector_expires(tmp_path: Path) -> None:
    settings = ConnectorSettings(data_dir=tmp_path, pacs_url="http://127.0.0.1:1", audit_retention_days=30)
    for days in (100, 0):
        trail = AuditTrail(settings.audit_dir, clock=lambda days=days: time.time() - days * DAY)  # type: ignore[misc]
        trail.record(AuditEvent(name="archive_queried", process="pacs"))
    with closing(Connector(settings, Rules(rules=()), AuditTrail(settings.audit_dir))) as connector:
        connector.step(time.time())
    (newest,) = settings.audit_dir.glob("*.jsonl")
    assert '"file_expired"' in newest.read_text()
