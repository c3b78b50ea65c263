"""The end of a job, and what it adds to the counters of the installation."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from redis import Redis

from certrad.models.errors import PROBLEMS
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.drift import DAY_SECONDS, OTHER_SERIES, Series, day_of, increments
from certrad.workers.contract.drift_labels import NO_LABEL, OTHER
from certrad.workers.contract.job import JobError, JobResult, end_data
from certrad.workers.contract.names import (
    ACTIVE,
    ARCHIVE_QUEUE,
    DRIFT_OF_ALL,
    ENGINE_QUEUE,
    INTAKE_QUEUE,
    TOTALS,
    Status,
    drift_key,
    events_key,
    record_key,
)
from certrad.workers.contract.scripts import END
from certrad.workers.contract.totals import (
    CERTIFICATES,
    ESTIMATE_TIME,
    INTAKE_REFUSALS,
    JOB_TIME,
    JOBS_ENDED,
    QUEUE_WAIT,
    SAMPLE_RATE,
    SAMPLES,
    SELECT_TIME,
    field,
)

_EVENTS_SECONDS: Final = 600  # after the end of a job; then its record alone says how it ended
_READ: Final = (
    "request",
    "tenant",
    "created_at",
    "decoding_at",
    "unpacking_at",
    "waiting_at",
    "loading_at",
    "modality",
    "scanner_model",
)
"""Fields of the record that do not change once they are there, so that a script need not read them again."""


class Ending:
    """Ends jobs, and counts each of them in the same step; a job that has ended never changes again."""

    def __init__(self, redis: Redis, *, ttl: int, drift_days: int, clock: Callable[[], float]) -> None:
        """Takes the times that things are kept.

        Args:
            redis: The job store.
            ttl: Seconds that the record is kept.
            drift_days: Days that the counts of a day are kept.
            clock: Seconds since 1970.
        """
        self._redis, self._clock = redis, clock
        self._ttl, self._day_ttl = ttl, drift_days * DAY_SECONDS
        self._end = redis.register_script(END)

    def end(
        self,
        job_id: str,
        status: Status,
        fields: Mapping[str, str],
        *,
        result: JobResult | None = None,
        error: JobError | None = None,
    ) -> bool:
        """Ends a job; returns False if it has ended already.

        Args:
            job_id: The job's id.
            status: How it ends.
            fields: More fields of its record.
            result: The result of a succeeded job.
            error: The error of a failed one.
        """
        now = self._clock()
        values = cast("list[bytes | None]", self._redis.hmget(record_key(job_id), _READ))
        facts = {name: value.decode() for name, value in zip(_READ, values, strict=True) if value is not None}
        day = drift_key(facts.get("tenant", LOCAL_TENANT), day_of(now).isoformat())
        keys = [record_key(job_id), events_key(job_id), ACTIVE, TOTALS, day, DRIFT_OF_ALL]
        code = "" if error is None else error.code if error.code in PROBLEMS else OTHER
        written = json.dumps(end_data(status, result=result, error=error))
        counted = json.dumps(_counted(facts, status, result, code, now))
        changed = {"status": status, "phase": "done", **fields, "updated_at": repr(now)}
        args: list[str | int] = [_EVENTS_SECONDS, self._ttl, "end", written, job_id, counted, self._day_ttl]
        return bool(self._end(keys=keys, args=[*args, *(part for pair in changed.items() for part in pair)]))


def _counted(
    facts: Mapping[str, str], status: Status, result: JobResult | None, code: str, now: float
) -> dict[str, Any]:
    """Returns what the end of a job adds to the counters, and to the series of its image."""
    request = _request(facts.get("request", ""))
    counts = {**_job(request, facts, status, code, now), **_waits(facts)}
    if not isinstance(result, CertifiedResult | AbstainedResult):
        return {"totals": list(counts.items())}
    series = Series(
        task=request.get("task") or NO_LABEL,
        modality=facts.get("modality", NO_LABEL),
        scanner_model=facts.get("scanner_model", NO_LABEL),
    )
    return {
        "totals": list({**counts, **_certificate(result)}.items()),
        "series": series.to_json(),
        "other": OTHER_SERIES.to_json(),
        "drift": list(increments(result).items()),
    }


def _request(text: str) -> dict[str, Any]:
    """Returns the JSON of a request; empty for one that cannot be read, whose job ends all the same."""
    try:
        request = json.loads(text)
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}


def _job(request: Mapping[str, Any], facts: Mapping[str, str], status: Status, code: str, now: float) -> dict[str, str]:
    kind = request["kind"] if request.get("kind") in ("certify", "tune") else OTHER
    counts = {field(JOBS_ENDED.name, kind, status, code if status == "failed" else ""): "1"}
    if "created_at" in facts:
        counts |= JOB_TIME.observed(max(0.0, now - float(facts["created_at"])), kind, status)
    if status == "failed" and "waiting_at" not in facts:
        counts[field(INTAKE_REFUSALS.name, code)] = "1"
    return counts


def _waits(facts: Mapping[str, str]) -> dict[str, str]:
    """Returns the waits for the first worker of each queue that the job came to."""
    counts: dict[str, str] = {}
    for queue, since, until in (
        (INTAKE_QUEUE, "created_at", "decoding_at"),
        (ARCHIVE_QUEUE, "created_at", "unpacking_at"),
        (ENGINE_QUEUE, "waiting_at", "loading_at"),
    ):
        if since in facts and until in facts:
            counts |= QUEUE_WAIT.observed(max(0.0, float(facts[until]) - float(facts[since])), queue)
    return counts


def _outcome(result: CertifiedResult | AbstainedResult) -> str:
    return "rejected" if isinstance(result, CertifiedResult) and result.unlike else result.outcome


def _certificate(result: CertifiedResult | AbstainedResult) -> dict[str, str]:
    counts = {
        field(CERTIFICATES.name, _outcome(result), result.scope): "1",
        field(SAMPLES.name, result.backbone): str(result.samples_drawn),
    }
    selecting, estimating = result.timing.get("select_s"), result.timing.get("estimate_s")
    if selecting is not None:
        counts |= SELECT_TIME.observed(selecting, result.backbone)
    if estimating is not None:
        counts |= ESTIMATE_TIME.observed(estimating, result.backbone)
    if seconds := (selecting or 0.0) + (estimating or 0.0):
        counts |= SAMPLE_RATE.observed(result.samples_drawn / seconds, result.backbone)
    return counts
