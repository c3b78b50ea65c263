"""A client of one DICOMweb root: search, metadata, one instance, store. It goes to this root and nowhere else."""

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from certrad.workers.contract.triggers import is_uid
from certrad.workers.pacs.failures import ExchangeError, of_status, of_transport
from certrad.workers.pacs.multipart import instance_uid, one_part, only_part

JSON: Final = "application/dicom+json"
_INSTANCES: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_SERIES: Final = "0020000E"
_INSTANCE: Final = "00080018"
_LOOKED_AT: Final = "&".join(
    f"includefield={tag}" for tag in ("00080060", "00080070", "00081010", "0008103E", "00180015", _INSTANCE, "00200013")
)
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_SOP: Final = "00081155"
_REASON: Final = "00081197"
_DUPLICATE: Final = 0x0111

Attributes = Mapping[str, Any]
"""A data set in the DICOM JSON model."""


class DicomWeb:
    """Speaks to one root; every failure is an ExchangeError, which tells nothing of what was sent or answered."""

    def __init__(self, http: httpx.Client, root: str, *, max_bytes: int) -> None:
        """Takes over a client.

        Args:
            http: The client, with credentials and time limits; it follows no redirect.
            root: The DICOMweb root.
            max_bytes: Bytes that one answer may have.
        """
        self._http = http
        self._root = root.rstrip("/")
        self._max_bytes = max_bytes

    def ask(self) -> None:
        """Searches for at most one study, to see whether the root answers.

        Raises:
            ExchangeError: It does not.
        """
        self._json(f"{self._root}/studies?limit=1")

    def series_of(self, study: str) -> list[str]:
        """Returns the UIDs of the series of a study.

        Raises:
            ExchangeError: The PACS does not answer, or not as it should.
        """
        found = [text(item, _SERIES) for item in self._json(f"{self._root}/studies/{_uid(study)}/series")]
        return [uid for uid in found if is_uid(uid)]

    def headers(self, study: str, series: str) -> list[Attributes]:
        """Returns what rules look at of the instances of a series, by a search: less than all of their headers.

        A PACS that cannot search for instances is asked for the whole headers.

        Raises:
            ExchangeError: As above.
        """
        url = f"{self._root}/studies/{_uid(study)}/series/{_uid(series)}/instances?{_LOOKED_AT}"
        found: dict[str, Attributes] = {}
        offset = 0
        try:
            while page := self._json(f"{url}&offset={offset}"):  # a PACS may answer a part only
                before = len(found)
                found |= {text(item, _INSTANCE): item for item in page}
                offset += len(page)
                if len(found) == before:  # it knows no offset
                    break
        except ExchangeError as error:
            if error.code not in ("not_acceptable", "not_found", "unexpected_status"):
                raise
            found = {}
        return list(found.values()) or self.metadata(study, series)

    def metadata(self, study: str, series: str) -> list[Attributes]:
        """Returns the headers of the instances of a series.

        Raises:
            ExchangeError: As above.
        """
        return self._json(f"{self._root}/studies/{_uid(study)}/series/{_uid(series)}/metadata")

    def instance(self, study: str, series: str, sop: str) -> bytes:
        """Returns one instance as a DICOM file, in the transfer syntax in which the PACS keeps it.

        Raises:
            ExchangeError: As above.
        """
        url = f"{self._root}/studies/{_uid(study)}/series/{_uid(series)}/instances/{_uid(sop)}"
        content_type, body = self._get(url, _INSTANCES)
        content = only_part(content_type, body)
        if instance_uid(content) != sop:
            raise ExchangeError("not_returned")
        return content

    def store(self, content: bytes, sop: str) -> None:
        """Stores one instance; a PACS that has it already has stored it.

        Args:
            content: The DICOM file.
            sop: Its UID.

        Raises:
            ExchangeError: It was not stored.
        """
        content_type, body = one_part(content)
        headers = {"Content-Type": content_type, "Accept": JSON}
        status, _, answer = self._send("POST", f"{self._root}/studies", headers=headers, content=body)
        answered: object = {}
        if status in (200, 202, 409):
            try:
                answered = json.loads(answer)
            except (ValueError, RecursionError):
                if status != 409:
                    raise ExchangeError("not_dicomweb") from None
        answered = answered if isinstance(answered, dict) else {}
        if sop in _listed(answered, _REFERENCED) or _listed(answered, _FAILED).get(sop) == _DUPLICATE:
            return
        if (error := of_status(status)) is not None:
            raise error
        raise ExchangeError("not_stored")

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, url: str) -> list[Attributes]:
        _, body = self._get(url, JSON)
        if not body:  # 204: nothing is found
            return []
        try:
            items = json.loads(body)
        except (ValueError, RecursionError):
            raise ExchangeError("not_dicomweb") from None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ExchangeError("not_dicomweb")
        return items

    def _get(self, url: str, accept: str) -> tuple[str, bytes]:
        status, content_type, body = self._send("GET", url, headers={"Accept": accept})
        if (error := of_status(status)) is not None:
            raise error
        return content_type, body

    def _send(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> tuple[int, str, bytes]:
        try:
            with self._http.stream(method, url, headers=headers, content=content) as response:
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > self._max_bytes:
                        raise ExchangeError("too_large")
                return response.status_code, response.headers.get("content-type", ""), bytes(received)
        except httpx.HTTPError as error:
            raise of_transport(error) from None


def text(item: Attributes, tag: str) -> str:
    """Returns the first value of an attribute as text; empty where there is none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    value = values[0] if isinstance(values, list) and values else ""
    return str(value) if isinstance(value, str | int | float) else ""


def _listed(answered: Attributes, sequence: str) -> dict[str, int]:
    """Returns the instances of a sequence of the answer to a STOW, with their failure reason or 0."""
    element = answered.get(sequence)
    items = element.get("Value") if isinstance(element, dict) else None
    found = {}
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict):
            reason = text(item, _REASON)
            found[text(item, _SOP)] = int(reason) if reason.isdecimal() else 0
    return found


def _uid(uid: str) -> str:
    """Returns a UID that may stand in a path."""
    if not is_uid(uid):
        raise ExchangeError("not_dicomweb")
    return uid
