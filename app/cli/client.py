"""A client of the HTTP API."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast
from urllib.parse import quote

import httpx
from httpx_sse import EventSource

from certrad.app.cli.refusals import ProblemError as ProblemError
from certrad.app.cli.refusals import problem_of, unreachable
from certrad.workers.contract.loopback import is_loopback_url
from certrad.workers.contract.outputs import OUTPUTS, OutputKind

ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
_TIMEOUT: Final = httpx.Timeout(30.0)
_POLL_SECONDS: Final = 1.0
_PATIENCE: Final = 30
_PASSING: Final = frozenset({"unreachable", "redis_unavailable"})
_UNITS: Final = ("images", "epochs", "samples")  # the first that a job counts now is what its phase is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The progress of a job in samples, epochs or images; `total` is None if the event does not repeat it."""

    done: int
    total: int | None
    unit: str

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self | None:
        """Returns the progress in a job or an event; None if nothing is counted."""
        for unit in _UNITS:
            if (done := body.get(f"{unit}_done")) is not None:
                return cls(done=done, total=body.get(f"{unit}_total"), unit=unit)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as the service returns it."""

    id: str
    status: str
    phase: str
    progress: Counted | None
    created_at: str
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    certificate: str | None
    raw: dict[str, Any] = field(repr=False)

    @property
    def ended(self) -> bool:
        """Returns whether the job has a status that it cannot leave."""
        return self.status in ENDED

    @property
    def certificate_sha256(self) -> str | None:
        """Returns the digest of the certificate document, which ends its address; None without a certificate."""
        return None if self.certificate is None else self.certificate.rpartition("/")[2]

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Returns the job in a response body of the API."""
        return cls(
            id=body["id"],
            status=body["status"],
            phase=body["progress"]["phase"],
            progress=Counted.from_json(body["progress"]),
            created_at=body["created_at"],
            request=body["request"],
            result=body["result"],
            error=body["error"],
            certificate=body["links"]["certificate"],
            raw=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a job: its id, its name (`phase`, `progress` or `end`) and its data."""

    id: str
    name: str
    data: dict[str, Any]


class Client:
    """Speaks to one installation; every refusal is a ProblemError."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects at the first request.

        Args:
            url: The address of the service.
            key: The API key to send; None for a service that is open.
            transport: What carries the requests; None for the network.
            sleep: Waits for some seconds.
        """
        direct = is_loopback_url(url)  # no proxy of HTTP_PROXY can reach this machine's own addresses
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url=url, timeout=_TIMEOUT, transport=transport, trust_env=not direct, headers=headers
        )
        self._sleep = sleep

    def submit(
        self, image: bytes, fields: Mapping[str, str] | None = None, *, idempotency_key: str | None = None
    ) -> Job:
        """Submits an image; the client never sends the file's name.

        Args:
            image: The bytes of the file.
            fields: The fields of POST /certify.
            idempotency_key: Makes a second submission return the job of the first one.

        Returns:
            The job.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return Job.from_json(self.send("POST", "/certify", content=image, params=dict(fields or {}), headers=headers))

    def tune(self, archive: BinaryIO, fields: Mapping[str, str]) -> Job:
        """Submits images to tune a prompt on.

        Args:
            archive: A zip with one folder of images for each class; the client reads it while it sends.
            fields: The fields of POST /prompts.

        Returns:
            The job.
        """
        part = ("images.zip", archive, "application/zip")
        return Job.from_json(self.send("POST", "/prompts", data=dict(fields), files={"images": part}))

    def make_default(self, prompt_id: str, task: str) -> str | None:
        """Makes a prompt the default of a task; returns the id of the one that it replaces."""
        body = self.send("PATCH", f"/prompts/{quote(prompt_id, safe='')}", json={"default_for": task})
        return cast("str | None", body["replaced"])

    def prompt(self, prompt_id: str) -> dict[str, Any]:
        """Returns the card of a prompt, with the tasks whose default it is."""
        return self.get(f"/prompts/{quote(prompt_id, safe='')}")

    def withdraw_prompt(self, prompt_id: str) -> None:
        """Withdraws a prompt."""
        self._request("DELETE", f"/prompts/{quote(prompt_id, safe='')}")

    def restore_prompt(self, prompt_id: str) -> list[str]:
        """Puts a withdrawn prompt into use again; returns the tasks whose default it is then."""
        changed = self.send("PATCH", f"/prompts/{quote(prompt_id, safe='')}", json={"withdrawn": False})
        return cast("list[str]", changed["default_for"])

    def change_adapter(self, adapter_id: str, *, withdrawn: bool) -> list[str]:
        """Withdraws an adapter, or puts it into use again; returns the tasks whose default it is then."""
        changed = self.send("PATCH", f"/adapters/{quote(adapter_id, safe='')}", json={"withdrawn": withdrawn})
        return cast("list[str]", changed["default_for"])

    def job(self, job_id: str) -> Job:
        """Returns the job with its current status."""
        return Job.from_json(self.send("GET", f"/jobs/{quote(job_id, safe='')}"))

    def jobs(self) -> Iterator[Job]:
        """Yields every job, newest first."""
        cursor: str | None = None
        while True:
            page = self.send("GET", "/jobs", params={"cursor": cursor} if cursor else {})
            yield from map(Job.from_json, page["jobs"])
            cursor = page["next"]
            if cursor is None:
                return

    def cancel(self, job_id: str) -> None:
        """Cancels a job that has not ended, and erases one that has."""
        self._request("DELETE", f"/jobs/{quote(job_id, safe='')}")

    def certificate(self, job_id: str, media_type: str = "application/json", place: str = "certificate") -> bytes:
        """Returns the certificate document of a job, or another form of it, byte for byte."""
        headers = {"Accept": media_type}
        return self._request("GET", f"/jobs/{quote(job_id, safe='')}/{place}", headers=headers).content

    def report(self, job_id: str, kind: OutputKind) -> bytes:
        """Returns a report about the certificate of a job."""
        place = "secondary-capture" if kind == "secondary_capture" else "certificate"
        return self.certificate(job_id, OUTPUTS[kind].media_type, place)

    def model_input(self, job_id: str) -> bytes:
        """Returns the model input of a job's image, as a PNG."""
        return self._request("GET", f"/jobs/{quote(job_id, safe='')}/input").content

    def get(self, path: str) -> dict[str, Any]:
        """Returns the JSON object at an address, such as `/backbones`."""
        return self.send("GET", path)

    def events(self, job_id: str, *, after: str | None = None) -> Iterator[Event]:
        """Yields the events of a job as they come, until its last one.

        Args:
            job_id: The job's id.
            after: The id of the event after which to begin; None for the first one.

        Raises:
            ProblemError: The service refused, or the client could not reach it.
        """
        headers = {"Last-Event-ID": after} if after else {}
        timeout = httpx.Timeout(_TIMEOUT.connect, read=60.0)
        try:
            with self._http.stream(
                "GET", f"/jobs/{quote(job_id, safe='')}/events", headers=headers, timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                    raise problem_of(response)
                yield from parse_events(response)
        except httpx.TransportError as error:
            raise unreachable(error) from error

    def wait(self, job_id: str, on_event: Callable[[Event], None] = lambda _: None) -> Job:
        """Returns the job once it has ended.

        A broken stream resumes where it broke; if it cannot, the client polls the job. The client gives up a service
        that does not respond for half a minute.

        Args:
            job_id: The job's id.
            on_event: Receives each event once.

        Raises:
            ProblemError: The service refused, or the client could not reach it.
        """
        seen: str | None = None
        failures = 0
        while True:
            try:
                for event in self.events(job_id, after=seen):
                    seen = event.id
                    on_event(event)
                job = self.job(job_id)
                failures = 0
            except ProblemError as problem:
                failures += 1
                if problem.code not in _PASSING or failures > _PATIENCE:
                    raise
            else:
                if job.ended:
                    return job
            self._sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, method: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401  # httpx has the types
        """Returns the JSON object with which the service answers a request."""
        return cast("dict[str, Any]", self._request(method, path, **options).json())

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  # as above
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        if response.is_error:
            raise problem_of(response)
        return response


def parse_events(response: httpx.Response) -> Iterator[Event]:
    """Yields the events of a `text/event-stream`, without comments and without an event that the end cuts off."""
    for event in EventSource(response).iter_sse():
        if event.data:
            yield Event(id=event.id, name=event.event, data=json.loads(event.data))
