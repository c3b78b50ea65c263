"""What the connector tells of its work: events without a name, a UID or an address."""

from typing import Final, Literal

import structlog

Event = Literal[
    "series queried",
    "series ignored",
    "series failed",
    "instance retrieved",
    "instance failed",
    "result stored",
    "delivery refused",
]
PACS: Final = "pacs"
SERVICE: Final = "service"

_log = structlog.get_logger()


def note(event: Event, **facts: object) -> None:
    """Writes an event into the log.

    Args:
        event: What happened.
        facts: Numbers of rows, names of rules and codes; nothing of a patient.
    """
    _log.info(event, **facts)
