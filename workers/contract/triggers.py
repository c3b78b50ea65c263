"""Triggers between the API and the connector: one file for each, on the disk before the caller is answered.

They name series by their UIDs. So they lie in a private folder and nowhere else: not in Redis and in no log.
"""

import json
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from certrad.models.errors import Rejected
from certrad.models.files import replace_file

UID_PATTERN: Final = r"^[0-9]+(\.[0-9]+)*$"  # as pydantic reads it: `$` is the end
UID_LENGTH: Final = 64
_UID: Final = re.compile(UID_PATTERN.strip("^$"))
_ID: Final = re.compile(r"[0-9]{20}-[0-9a-f]{16}")
_MOST: Final = 10_000

Event = Literal["orthanc", "study"]


def is_uid(value: object) -> bool:
    """Returns whether a value is a DICOM UID by its form, safe in a path."""
    return isinstance(value, str) and len(value) <= UID_LENGTH and _UID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One series, or all series of a study, to look at.

    Attributes:
        id: Its id, which sorts by time and says nothing about the patient.
        event: Who asks: the PACS itself, or a person who waits for the outcome.
        study: The study's UID.
        series: The UID of the series; None for all of them.
        modality: The modality, where the caller knows it.
    """

    id: str
    event: Event
    study: str
    series: str | None = None
    modality: str | None = None


class TriggerSpool:
    """The folder of triggers that the connector has not taken yet, and of the outcomes it tells."""

    def __init__(self, pacs_dir: Path) -> None:
        self._waiting = pacs_dir / "triggers"
        self._outcomes = pacs_dir / "outcomes"

    def put(self, event: Event, study: str, series: str | None = None, modality: str | None = None) -> str:
        """Stores a trigger, so that a power cut after this call does not lose it.

        Args:
            event: Who asks.
            study: The study's UID.
            series: The UID of the series; None for all of them.
            modality: The modality, if it is known.

        Returns:
            The id.

        Raises:
            Rejected: queue_full, storage_unavailable.
        """
        trigger = Trigger(
            id=f"{time.time_ns():020d}-{secrets.token_hex(8)}",
            event=event,
            study=study,
            series=series,
            modality=modality,
        )
        try:
            if self._waiting.is_dir() and sum(1 for _ in self._waiting.iterdir()) >= _MOST:
                raise Rejected("queue_full", f"{_MOST} triggers wait for the connector")
            replace_file(self._waiting / f"{trigger.id}.json", json.dumps(asdict(trigger)).encode())
        except OSError as error:
            raise Rejected("storage_unavailable", f"the trigger was not stored: {error.strerror}") from error
        return trigger.id

    def waiting(self) -> list[Trigger]:
        """Returns the triggers that wait, oldest first; a file that is no trigger is deleted."""
        found = []
        for path in sorted(self._waiting.glob("*.json")):
            try:
                trigger = Trigger(**json.loads(path.read_bytes()))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError):
                path.unlink(missing_ok=True)
                continue
            found.append(trigger)
        return found

    def remove(self, trigger: Trigger) -> None:
        """Deletes a trigger that the connector has written into its own database."""
        self._file(self._waiting, trigger.id).unlink(missing_ok=True)

    def tell(self, trigger_id: str, outcome: dict[str, Any]) -> None:
        """Writes what has become of a trigger so far; it names no patient and no UID.

        Raises:
            OSError: The disk refuses.
        """
        replace_file(self._file(self._outcomes, trigger_id), json.dumps(outcome).encode())

    def forget_outcomes(self, before: float) -> None:
        """Deletes the outcomes that were last written before a time.

        Args:
            before: Seconds since 1970.
        """
        for path in self._outcomes.glob("*.json"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)

    def forget_outcome(self, trigger_id: str) -> None:
        """Deletes the outcome of a trigger; there may be none."""
        self._file(self._outcomes, trigger_id).unlink(missing_ok=True)

    def outcome(self, trigger_id: str) -> dict[str, Any]:
        """Returns what has become of a trigger so far.

        Raises:
            Rejected: trigger_not_found.
        """
        if not _ID.fullmatch(trigger_id):
            raise Rejected("trigger_not_found", "")
        waits = self._file(self._waiting, trigger_id).exists()  # first: the connector tells before it removes
        try:
            told: dict[str, Any] = json.loads(self._file(self._outcomes, trigger_id).read_bytes())
        except FileNotFoundError:
            if waits:
                return {"status": "waiting", "series": []}
            raise Rejected("trigger_not_found", "") from None
        return told

    def _file(self, folder: Path, trigger_id: str) -> Path:
        return folder / f"{trigger_id}.json"
