"""Job records: our own truth about every job; an RQ job only carries one stage of it."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from redis import Redis

from certrad.workers.contract.job import (
    REQUEST,
    Created,
    IdempotencyConflictError,
    JobRecord,
    Page,
    QueueFullError,
    UnreadableRecordError,
    _decode,
)
from certrad.workers.contract.names import (
    ACTIVE,
    JOBS,
    Phase,
    Status,
    document_key,
    events_key,
    idempotency_key,
    input_key,
    ledger_key,
    record_key,
)
from certrad.workers.contract.progress import Request, at_start, to_fields
from certrad.workers.contract.scripts import ADVANCE, CREATE, END, LEAVE

_EVENTS_KEPT: Final = 2_000


class Records:
    """Reads and changes job records; a job that has ended never changes again."""

    def __init__(self, redis: Redis, *, ttl: int, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._ttl = ttl
        self._clock = clock
        self._create = redis.register_script(CREATE)
        self._advance = redis.register_script(ADVANCE)
        self._end = redis.register_script(END)
        self._leave = redis.register_script(LEAVE)

    def create(
        self,
        job_id: str,
        request: Request,
        *,
        max_active: int,
        digest: str,
        idempotency_sha256: str | None = None,
    ) -> Created:
        """Creates a queued job, or finds the one that the same Idempotency-Key created.

        digest: SHA-256 over the upload and the request, compared on a replay.
        Raises QueueFullError, IdempotencyConflictError.
        """
        now = self._clock()
        fields = {
            "status": "queued",
            "phase": "queued",
            "request": REQUEST.dump_json(request).decode(),
            **to_fields(at_start(request)),
            "created_at": repr(now),
            "updated_at": repr(now),
        }
        replay_key = idempotency_key(idempotency_sha256) if idempotency_sha256 else ""
        answer = self._create(
            keys=[record_key(job_id), ACTIVE, JOBS, replay_key],
            args=[job_id, repr(now), self._ttl, max_active, digest, *_flat(fields)],
        )
        known_id, known_digest = (part.decode() for part in cast("list[bytes]", answer))
        if not known_id:
            raise QueueFullError
        if known_digest != digest:
            raise IdempotencyConflictError
        return Created(job_id=known_id, replayed=known_id != job_id)

    def read(self, job_id: str) -> JobRecord | None:
        """The record, or None when there is none (any more). Raises UnreadableRecordError."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(record_key(job_id)))
        try:
            return _decode(job_id, stored) if b"status" in stored else None
        except (KeyError, ValueError) as error:
            raise UnreadableRecordError(job_id) from error

    def status(self, job_id: str) -> Status | None:
        """The status alone, also of a record that `read` cannot make sense of; None when there is no record."""
        stored = cast("bytes | None", self._redis.hget(record_key(job_id), "status"))
        return None if stored is None else cast("Status", stored.decode())

    def enter(self, job_id: str, phase: Phase, *, image: Mapping[str, Any] | None = None) -> bool:
        """Moves a job to a phase; False when it has ended meanwhile, so the caller must stop."""
        fields = {"status": "running", "phase": phase}
        if image is not None:
            fields["image"] = json.dumps(image)
        return self._change(job_id, "phase", {"phase": phase}, fields)

    def progress(
        self,
        job_id: str,
        *,
        samples_done: int,
        counts: tuple[int, ...],
        invalid: int,
        running_radius: float | None = None,
    ) -> bool:
        """Publishes progress of a certification; False when the job has ended meanwhile, so the caller must stop."""
        data: dict[str, Any] = {"samples_done": samples_done, "counts": counts, "invalid": invalid}
        fields = {"samples_done": str(samples_done)}
        if running_radius is not None:
            data["running_radius"] = running_radius
            fields["running_radius"] = repr(running_radius)
        return self._change(job_id, "progress", data, fields)

    def images_progress(self, job_id: str, *, images_done: int, images_total: int) -> bool:
        """Publishes how many images of a tuning are decoded or attacked; False as in `progress`."""
        return self._tell(job_id, {"images_done": images_done, "images_total": images_total})

    def epoch_progress(self, job_id: str, *, epochs_done: int, epochs_total: int, loss: float) -> bool:
        """Publishes that an epoch of a tuning is done, with its mean loss; False as in `progress`."""
        return self._tell(job_id, {"epochs_done": epochs_done, "epochs_total": epochs_total, "loss": loss})

    def leave_input(self, job_id: str, pixels: bytes, ttl: int) -> bool:
        """Leaves the decoded image for the engines, for ttl seconds; False when the job has ended meanwhile."""
        return self._leave_at(input_key(job_id), job_id, ttl, "SET", pixels)

    def leave_image(self, job_id: str, index: int, pixels: bytes, ttl: int) -> bool:
        """Leaves one of the images of a tuning for the engines; ttl and answer as in `leave_input`."""
        return self._leave_at(input_key(job_id), job_id, ttl, "HSET", str(index), pixels)

    def leave_step(self, job_id: str, step: str, state: bytes, ttl: int) -> bool:
        """Leaves how far a tuning has come for whoever goes on with it; ttl and answer as in `leave_input`."""
        return self._leave_at(ledger_key(job_id), job_id, ttl, "HSET", step, state)

    def leave_result(self, job_id: str, result: bytes, ttl: int) -> bool:
        """Leaves the result (JSON) of a job without a document for intake; ttl and answer as in `leave_input`."""
        return self._leave_at(document_key(job_id), job_id, ttl, "HSET", "result", result)

    def leave_document(self, job_id: str, document: bytes, result: bytes, ttl: int) -> bool:
        """Leaves certificate document and result (JSON) for intake, for ttl seconds; False as in `leave_input`."""
        return self._leave_at(document_key(job_id), job_id, ttl, "HSET", "document", document, "result", result)

    def succeed(self, job_id: str, result: Mapping[str, Any], *, certificate: str | None = None) -> bool:
        """Ends a job with its result and, of a certification, the document; False when it had ended before."""
        fields = {"result": json.dumps(result)}
        if certificate is not None:
            fields |= {"certificate": certificate, "samples_done": str(result["samples_used"])}
        return self._finish(job_id, "succeeded", fields)

    def fail(self, job_id: str, code: str, detail: str) -> bool:
        """Ends a job with an error code; False when it had ended before."""
        return self._finish(job_id, "failed", {"error": json.dumps({"code": code, "detail": detail})})

    def cancel(self, job_id: str) -> bool:
        """Ends a job at its owner's wish; False when it had ended before."""
        return self._finish(job_id, "cancelled", {})

    def erase(self, job_id: str) -> None:
        """Removes every trace of a job from Redis."""
        self._redis.delete(*_all_keys(job_id))
        self._redis.zrem(JOBS, job_id)
        self._redis.zrem(ACTIVE, job_id)

    def active(self) -> list[str]:
        """The ids of jobs that have not ended, oldest first."""
        return [member.decode() for member in cast("list[bytes]", self._redis.zrange(ACTIVE, 0, -1))]

    def page(self, *, before: float, limit: int) -> Page:
        """The records among the `limit` newest jobs created before a time (exclusive).

        What has expired or cannot be read is left out.
        """
        listed = cast(
            "list[tuple[bytes, float]]",
            self._redis.zrevrangebyscore(JOBS, f"({before!r}", "-inf", start=0, num=limit, withscores=True),
        )
        records = (self._readable(job_id.decode()) for job_id, _ in listed)
        return Page(
            records=tuple(record for record in records if record is not None),
            following=listed[-1][1] if len(listed) == limit else None,
        )

    def forget_expired(self) -> None:
        """Takes jobs whose record has expired off the list that `page` reads."""
        old = cast("list[bytes]", self._redis.zrangebyscore(JOBS, "-inf", self._clock() - self._ttl))
        if gone := [job_id for job_id in old if self.status(job_id.decode()) is None]:
            self._redis.zrem(JOBS, *gone)

    def _readable(self, job_id: str) -> JobRecord | None:
        try:
            return self.read(job_id)
        except UnreadableRecordError:
            return None

    def _tell(self, job_id: str, numbers: Mapping[str, float]) -> bool:
        return self._change(job_id, "progress", numbers, {name: repr(value) for name, value in numbers.items()})

    def _leave_at(self, key: str, job_id: str, ttl: int, *command: bytes | str) -> bool:
        return bool(self._leave(keys=[record_key(job_id), key], args=[ttl, *command]))

    def _change(self, job_id: str, event: str, data: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
        changed = self._advance(
            keys=[record_key(job_id), events_key(job_id)],
            args=[_EVENTS_KEPT, self._ttl, event, json.dumps(data), *_flat({**fields, **self._now()})],
        )
        return bool(changed)

    def _finish(self, job_id: str, status: Status, fields: Mapping[str, str]) -> bool:
        ended = self._end(
            keys=[
                record_key(job_id),
                events_key(job_id),
                ACTIVE,
                input_key(job_id),
                ledger_key(job_id),
                document_key(job_id),
            ],
            args=[
                _EVENTS_KEPT,
                self._ttl,
                "end",
                json.dumps({"status": status}),
                job_id,
                *_flat({"status": status, "phase": "done", **fields, **self._now()}),
            ],
        )
        return bool(ended)

    def _now(self) -> dict[str, str]:
        return {"updated_at": repr(self._clock())}


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]


def _all_keys(job_id: str) -> list[str]:
    return [key(job_id) for key in (record_key, events_key, input_key, ledger_key, document_key)]
