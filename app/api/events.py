"""The events of one job, read from its Redis stream until it ends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, cast

from fastapi.sse import format_sse_event
from redis.asyncio import Redis

from certrad.models.errors import Rejected
from certrad.workers.contract.job import JobRecord, end_data
from certrad.workers.contract.names import ENDED, events_key, record_key

START: Final = "0-0"
_STREAM_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_PART_MAX: Final = 2**64 - 1  # of a stream id, to Redis


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event: its position in the stream, its name and its JSON."""

    id: str
    name: str
    data: str

    def encode(self) -> bytes:
        """Returns the event in the form of `text/event-stream`."""
        return format_sse_event(id=self.id, event=self.name, data_str=self.data)


def position(last_event_id: str | None) -> str:
    """Returns the position after which a reader that saw this event continues.

    Args:
        last_event_id: The header `Last-Event-ID`; None for a reader that saw no event.

    Raises:
        Rejected: invalid_request, if it is not the id of an event.
    """
    if last_event_id is None:
        return START
    parts = _STREAM_ID.fullmatch(last_event_id)
    if parts and all(int(part) <= _PART_MAX for part in parts.groups()):
        return last_event_id
    raise Rejected("invalid_request", "`Last-Event-ID` must be the id of an event")


async def follow(redis: Redis, job_id: str, *, after: str = START, beat: float) -> AsyncIterator[StreamEvent | None]:
    """Yields every event after a position as it comes, until the job's last one.

    Args:
        redis: The job store.
        job_id: The job's id.
        after: The position.
        beat: Seconds of silence after which it yields None.
    """
    wait_ms: int | None = None  # what is there already is read without waiting
    while True:
        entries = await _read(redis, job_id, after, wait_ms)
        for event in entries:
            after = event.id
            yield event
            if event.name == "end":
                return
        if not entries:
            status = await cast("Any", redis.hget(record_key(job_id), "status"))
            if status is not None and status.decode() in ENDED:
                async for event in _rest(redis, job_id, after):
                    yield event
                return
            if status is None:
                return
            if wait_ms is not None:
                yield None
        wait_ms = max(1, round(beat * 1000))


async def wait_end(redis: Redis, job_id: str, *, seconds: float) -> None:
    """Waits until the job has ended or the time is over.

    Args:
        redis: The job store.
        job_id: The job's id.
        seconds: The time to wait at most.
    """
    try:
        async with asyncio.timeout(seconds):
            async for _ in follow(redis, job_id, beat=max(seconds, 0.001)):
                pass
    except TimeoutError:
        return


async def _rest(redis: Redis, job_id: str, after: str) -> AsyncIterator[StreamEvent]:
    """Yields what is left for a reader of a job that has ended: the rest of its events, or the end from its record.

    The events are deleted some minutes after the end, and the record is not.
    """
    events = await _read(redis, job_id, after, None)
    for event in events:
        yield event
    if events or await cast("Any", redis.exists(events_key(job_id))):
        return
    stored = await cast("Any", redis.hgetall(record_key(job_id)))
    try:
        record = JobRecord.from_fields(job_id, stored)
    except (KeyError, ValueError):  # erased meanwhile, or not written by this version
        return
    event_id = f"{round(record.updated_at * 1000)}-0"
    if event_id != after:  # its reader has seen it
        data = end_data(record.status, result=record.result, error=record.error)
        yield StreamEvent(id=event_id, name="end", data=json.dumps(data))


async def _read(redis: Redis, job_id: str, after: str, wait_ms: int | None) -> list[StreamEvent]:
    answer = await cast("Any", redis.xread({events_key(job_id): after}, block=wait_ms, count=100))
    return [
        StreamEvent(id=entry_id.decode(), name=fields[b"event"].decode(), data=fields[b"data"].decode())
        for _, entries in answer or []
        for entry_id, fields in entries
    ]
