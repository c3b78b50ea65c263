"""The events of one job, read from its Redis stream until it ends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from fastapi.sse import format_sse_event
from redis.asyncio import Redis
from redis.exceptions import RedisError

from certrad.app.api.news import News
from certrad.models.errors import Rejected
from certrad.workers.contract.job import JobRecord, end_data
from certrad.workers.contract.names import ENDED, events_key, record_key

START: Final = "0-0"
_STREAM_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_RETRY_SECONDS: Final = 0.2
_REREAD_SECONDS: Final = 5.0  # should news get lost, as when the connection dies without a word
_PART_MAX: Final = 2**64 - 1  # of a stream id, to Redis


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event.

    Attributes:
        id: Its position in the stream.
        name: Its name.
        data: Its JSON.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The source of the events of jobs.

    Attributes:
        redis: The store of the streams.
        news: The news that say when to read.
    """

    redis: Redis
    news: News


async def follow(source: Source, job_id: str, *, after: str = START, beat: float) -> AsyncIterator[StreamEvent | None]:
    """Yields every event after a position as it comes, until the job's last one.

    It holds no connection to Redis while it waits, and reads on only when its reader asks for more.

    Args:
        source: Where it reads.
        job_id: The job's id.
        after: The position.
        beat: Seconds of silence after which it yields None.

    Raises:
        RedisError: Redis did not answer.
    """
    with source.news.followed(job_id) as woken:
        while True:
            woken.clear()
            entries, status = await _read(source.redis, job_id, after)
            for event in entries:
                after = event.id
                yield event
                if event.name == "end":
                    return
            if entries:
                continue
            if status is None:
                return
            if status in ENDED:
                async for event in _end_of_record(source.redis, job_id, after):
                    yield event
                return
            if not await _is_woken(woken, beat):
                yield None


async def wait_end(source: Source, job_id: str, *, seconds: float) -> None:
    """Waits until the job has ended or the time is over; while Redis is away, it waits on.

    Args:
        source: Where it reads.
        job_id: The job's id.
        seconds: The time to wait at most.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await _has_seen_end(source, job_id):
                await asyncio.sleep(_RETRY_SECONDS)


async def _has_seen_end(source: Source, job_id: str) -> bool:
    """Returns True once the job has ended or is gone, False if Redis cannot be reached."""
    try:
        async for _ in follow(source, job_id, beat=_REREAD_SECONDS):
            pass
    except RedisError:
        return False
    return True


async def _is_woken(woken: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await woken.wait()
    except TimeoutError:
        return False


async def _end_of_record(redis: Redis, job_id: str, after: str) -> AsyncIterator[StreamEvent]:
    """Yields the end of a job whose events were deleted, from its record, which is kept for longer.

    The events are deleted some minutes after the end.
    """
    if await cast("Any", redis.exists(events_key(job_id))):
        return
    stored = await cast("Any", redis.hgetall(record_key(job_id)))
    try:
        record = JobRecord.from_fields(job_id, stored)
    except (KeyError, ValueError):  # erased meanwhile, or not written by this version
        return
    event_id = f"{round(record.updated_at * 1000)}-0"
    if event_id != after:  # if equal, the reader has seen it
        data = end_data(record.status, result=record.result, error=record.error)
        yield StreamEvent(id=event_id, name="end", data=json.dumps(data))


async def _read(redis: Redis, job_id: str, after: str) -> tuple[list[StreamEvent], str | None]:
    """Returns the events after a position, and the status of the job; None if it has no record."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hget(record_key(job_id), "status")  # before the events: then the last one of an ended job is among them
        pipe.xread({events_key(job_id): after}, count=100)
        status, answer = cast("tuple[bytes | None, Any]", await pipe.execute())
    entries = [
        StreamEvent(id=entry_id.decode(), name=fields[b"event"].decode(), data=fields[b"data"].decode())
        for _, entries in answer or []
        for entry_id, fields in entries
    ]
    return entries, None if status is None else status.decode()
