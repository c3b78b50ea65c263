"""What the connector writes about its work, in the log and in the audit trail: no name, no UID and no address."""

from collections.abc import Mapping
from typing import Final, Literal

import structlog

from certrad.workers.contract.audit_events import AuditEvent, EventName
from certrad.workers.contract.audit_trail import AuditTrail

Note = Literal[
    "study queried",
    "series queried",
    "series ignored",
    "series failed",
    "instance retrieved",
    "instance received",
    "instance failed",
    "output missing",
    "result stored",
    "delivery refused",
]
PACS: Final = "pacs"
SERVICE: Final = "service"
_AUDITED: Final[Mapping[Note, EventName]] = {
    "study queried": "archive_queried",
    "series queried": "archive_queried",
    "series ignored": "input_ignored",
    "instance retrieved": "input_pulled",
    "instance received": "input_received",
    "result stored": "output_stored",
}

_log = structlog.get_logger()


class Notes:
    """Writes what happens."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    def write(self, note: Note, *, instance: str | None = None, job: str | None = None, **facts: object) -> None:
        """Writes one note into the log, and into the audit trail if somebody must answer for it.

        Args:
            note: What happened.
            instance: The UID of the instance that it is about; only its HMAC is written.
            job: The id of the job.
            facts: Numbers of rows, names of rules and codes; nothing of a patient.
        """
        _log.info(note, job=job, **facts)
        if (name := _AUDITED.get(note)) is not None:
            self._trail.record(
                AuditEvent(
                    name=name,
                    process=PACS,
                    job=job,
                    instances=() if instance is None else (self._trail.pseudonym(instance),),
                    details={key: str(value) for key, value in facts.items() if value is not None},
                )
            )
