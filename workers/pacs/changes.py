"""The reconciler: reads Orthanc's list of changes, so that a trigger that was lost is found again."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import structlog

from certrad.workers.contract.triggers import is_uid
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.failures import ExchangeError, of_status, of_transport
from certrad.workers.pacs.series import NEVER_INPUT

_PAGE: Final = 100
_POSITION: Final = "orthanc_position"
WENT_BACK: Final = "orthanc_went_back"
"""The fact that the list of changes once ended before the position, until `certrad pacs check` has reported it."""

_log = structlog.get_logger()


class Changes:
    """Follows one Orthanc from a position that lies in the database."""

    def __init__(self, http: httpx.Client, url: str, database: Database) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._database = database

    def step(self) -> int:
        """Adds the series that have become stable since the last call.

        The first call of all only notes where the list ends: what is in the PACS already is not certified unasked.
        So does a call after the PACS got another database, as after a restore, in which the list ends earlier.

        Returns:
            The number of the series.

        Raises:
            ExchangeError: Orthanc does not answer, or not as it should.
        """
        last = _whole(self._get("/changes?last"), "Last")
        known = self._database.fact(_POSITION)
        if known is None:
            self._move(last)
            return 0
        position = int(known)
        if last < position:
            self._move(last, went_back=True)
            _log.error(
                "the list of changes went back: the PACS has another database than before", reason="changes_went_back"
            )
            return 0
        found = 0
        while position < last:
            page = self._get(f"/changes?since={position}&limit={_PAGE}")
            stable = list(self._stable(page))
            before, position = position, max(position, _whole(page, "Last"))
            self._move(position, stable)
            found += len(stable)
            if page.get("Done") is not False or position == before:
                break
        return found

    def _stable(self, page: dict[str, Any]) -> Iterator[tuple[int, str, str]]:
        """Yields sequence number, study and series of the changes that announce a complete series of images."""
        for change in page.get("Changes", []):
            if change.get("ChangeType") != "StableSeries" or not _is_id(change.get("ID")):
                continue
            try:
                series = self._get(f"/series/{change['ID']}")
                parent = series.get("ParentStudy")
                study = self._get(f"/studies/{parent}") if _is_id(parent) else {}
            except ExchangeError as error:
                if error.code == "not_found":  # deleted meanwhile
                    continue
                raise
            tags, of_study = series.get("MainDicomTags", {}), study.get("MainDicomTags", {})
            uids = (of_study.get("StudyInstanceUID"), tags.get("SeriesInstanceUID"))
            if all(map(is_uid, uids)) and str(tags.get("Modality", "")).upper() not in NEVER_INPUT:
                yield _whole(change, "Seq"), *uids

    def _move(self, position: int, found: list[tuple[int, str, str]] | None = None, *, went_back: bool = False) -> None:
        """Writes the series and the new position in one transaction."""
        with self._database.transaction() as connection:
            for number, study, series in found or []:
                connection.execute(
                    "INSERT OR IGNORE INTO pulls (trigger_id, told, study, series, state, due, changed) "
                    "VALUES (?, 0, ?, ?, 'open', 0, ?)",
                    (f"change-{time.time_ns()}-{number}", study, series, time.time()),
                )
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_POSITION, str(position)))
            if went_back:
                connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (WENT_BACK, str(time.time())))

    def _get(self, path: str) -> dict[str, Any]:
        try:
            response = self._http.get(f"{self._url}{path}")
        except httpx.HTTPError as error:
            raise of_transport(error) from None
        if (wrong := of_status(response.status_code)) is not None:
            raise wrong
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise ExchangeError("not_orthanc")
        return body


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 44 and set(value) <= set("0123456789abcdef-")


def _whole(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int:
        raise ExchangeError("not_orthanc")
    return value
