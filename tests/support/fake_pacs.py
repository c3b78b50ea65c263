"""A PACS and a service in the memory of a test, behind the HTTP client of the connector."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from certrad.workers.pacs.dicomweb import DicomWeb

ROOT_URL = "http://pacs.test/dicom-web"


def dicom_file(uid: str, filler: bytes = b"") -> bytes:
    """A DICOM file with nothing but its file meta information and some bytes."""
    meta = meta_element(1, b"OB", b"\0\1") + meta_element(3, b"UI", uid.encode())
    return b"\0" * 128 + b"DICM" + meta + filler


def meta_element(number: int, vr: bytes, value: bytes) -> bytes:
    """An element of the file meta information."""
    value += b"\0" * (len(value) % 2)
    length = b"\0\0" + len(value).to_bytes(4, "little") if vr == b"OB" else len(value).to_bytes(2, "little")
    return b"\x02\0" + bytes([number, 0]) + vr + length + value


def attributes(sop: str, number: int, **more: str) -> dict[str, Any]:
    """The header of an instance as DICOMweb tells it; `more` by tag, with a leading letter t."""
    found = {"00080018": sop, "00200013": number, "00080060": "DX", **{tag[1:]: value for tag, value in more.items()}}
    return {tag: {"vr": "LO", "Value": [value]} for tag, value in found.items()}


@dataclass(slots=True)
class FakePacs:
    """Holds one series of one study; `status` makes every answer that status, `down` makes it answer nothing.

    `poison` answers what is about one UID, in the address or in the file that is stored, by a status or an error.
    """

    series: list[dict[str, Any]] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    status: int | None = None
    down: bool = False
    says_stored: bool = True
    searches: bool = True
    page: int = 2
    poison: dict[str, int | httpx.HTTPError] = field(default_factory=dict)
    at_store: Callable[[], object] = lambda: None
    paths: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        self.paths.append(request.url.path)
        if self.down:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        if self.status is not None:
            return httpx.Response(self.status)
        for uid, wrong in self.poison.items():
            if uid in request.url.path.split("/") or dicom_file(uid) in request.read():
                if isinstance(wrong, int):
                    return httpx.Response(wrong)
                raise wrong
        if request.method == "POST":
            self.stored.append(request.read())
            self.at_store()
            item = {"00081155": {"vr": "UI", "Value": [_uid_in(self.stored[-1])]}}
            return httpx.Response(200, json={"00081199": {"vr": "SQ", "Value": [item]}} if self.says_stored else {})
        if request.url.path.endswith("/instances"):
            offset = int(request.url.params["offset"])
            return httpx.Response(200 if self.searches else 400, json=self.series[offset : offset + self.page])
        if request.url.path.endswith("/metadata"):
            return httpx.Response(200, json=self.series)
        if "/instances/" in request.url.path:
            body = b"--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--b--\r\n"
            content = dicom_file(request.url.path.rpartition("/")[2])
            return httpx.Response(
                200,
                content=body % content,
                headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary="b"'},
            )
        return httpx.Response(200, json=[{"0020000E": {"vr": "UI", "Value": ["1.2.3"]}}])

    def client(self, max_bytes: int = 1 << 20) -> DicomWeb:
        """The connector's client of it."""
        return DicomWeb(httpx.Client(transport=httpx.MockTransport(self.answer)), ROOT_URL, max_bytes=max_bytes)


def _uid_in(body: bytes) -> str:
    start = body.index(b"\x02\x00\x03\x00UI") + 6
    length = int.from_bytes(body[start : start + 2], "little")
    return body[start + 2 : start + 2 + length].rstrip(b"\0").decode()


@dataclass(slots=True)
class FakeService:
    """Makes a job of every image; `ends` is what each job ends with."""

    keys: list[str] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    ends: dict[str, Any] = field(default_factory=lambda: {"status": "succeeded"})
    refusal: tuple[int, str] | None = None
    down: bool = False
    poison: dict[str, int | httpx.HTTPError] = field(default_factory=dict)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One answer; `poison` answers what is about an image or an address, by a status or an error."""
        if self.down:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        for name, wrong in self.poison.items():
            if request.url.path.endswith(name) or dicom_file(name) == request.read():
                if isinstance(wrong, int):
                    code = "internal_error" if wrong >= 500 else "output_failed"
                    return httpx.Response(wrong, json={"code": code})
                raise wrong
        if request.method == "POST":
            if self.refusal is not None:
                return httpx.Response(self.refusal[0], json={"code": self.refusal[1]})
            key = request.headers["Idempotency-Key"]
            if key not in self.keys:
                self.keys.append(key)
                self.fields.append(dict(request.url.params))
            return httpx.Response(202, json={"id": f"job{self.keys.index(key)}"})
        job = request.url.path.split("/")[2].removeprefix("job")
        if request.url.path.endswith("/certificate"):
            return httpx.Response(200, content=dicom_file(f"1.9.{job}.1"))
        if request.url.path.endswith("/secondary-capture"):
            return httpx.Response(200, content=dicom_file(f"1.9.{job}.2"))
        return httpx.Response(200, content=json.dumps({"id": f"job{job}", **self.ends}))
