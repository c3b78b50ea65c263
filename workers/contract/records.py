"""Job records: the truth about every job; RQ jobs only carry it from queue to queue."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from redis import Redis

from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.workers.contract import tracing
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.drift import KEPT_DAYS
from certrad.workers.contract.drift_labels import DriftLabel
from certrad.workers.contract.ending import Ending
from certrad.workers.contract.idempotency_keys import forget_idempotency_key, idempotency_field
from certrad.workers.contract.job import (
    ERROR,
    INPUT,
    OUTPUT_OUTCOMES,
    RESULT,
    Created,
    IdempotencyConflictError,
    JobError,
    JobInput,
    JobRecord,
    JobResult,
    QueueFullError,
    TenantQuotaError,
    UnreadableRecordError,
    UrgentQuotaError,
    phase_data,
)
from certrad.workers.contract.listing import Listing
from certrad.workers.contract.names import (
    ACTIVE,
    CALLBACKS,
    DEAD_CALLBACKS,
    JOBS,
    REWRITTEN,
    TENANTS,
    Phase,
    Status,
    active_of,
    callback_key,
    events_key,
    idempotency_key,
    jobs_of,
    keys_of_running,
    record_key,
    urgent_key,
)
from certrad.workers.contract.outputs import OutputOutcomes
from certrad.workers.contract.progress import RunningBound, at_start, running_numbers, to_fields
from certrad.workers.contract.request import Request, write_request
from certrad.workers.contract.scripts import ADVANCE, CREATE
from certrad.workers.contract.submission import ANONYMOUS, Submission

_EVENTS_KEPT: Final = 2_000
_REFUSALS: Final = {"urgent": UrgentQuotaError, "tenant": TenantQuotaError}


class Records:
    """Reads and changes job records; a job that has ended never changes again.

    A method that returns False says that the job has ended meanwhile, so that the caller must stop.
    """

    def __init__(
        self, redis: Redis, *, ttl: int, drift_days: int = KEPT_DAYS, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis
        self._ttl = ttl
        self._clock = clock
        self._create = redis.register_script(CREATE)
        self._advance = redis.register_script(ADVANCE)
        self.listing = Listing(redis, ttl=ttl, read=self._readable, clock=clock)
        self._ending = Ending(redis, ttl=ttl, drift_days=drift_days, clock=clock)

    def create(
        self,
        job_id: str,
        request: Request,
        *,
        max_active: int,
        digest: str,
        max_of_tenant: int | None = None,
        max_urgent: int = 1 << 31,
        submission: Submission = ANONYMOUS,
        idempotency_sha256: str | None = None,
    ) -> Created:
        """Creates a queued job, unless an earlier submission with the same Idempotency-Key created one.

        Args:
            job_id: Id of the job, if it is created.
            request: The request with every default filled in.
            max_active: Jobs that may be active at once.
            digest: SHA-256 over the upload and the request, compared on a replay.
            max_of_tenant: Jobs that one tenant may have active at once; None for all of `max_active`.
            max_urgent: Urgent jobs of one tenant that may be active at once.
            submission: Who sent the job.
            idempotency_sha256: SHA-256 of the Idempotency-Key, None without one.

        Returns:
            The job that the submission belongs to.

        Raises:
            QueueFullError: As many jobs are active as may be.
            TenantQuotaError: The tenant has as many active jobs as it may have.
            UrgentQuotaError: The job is urgent, and as many urgent jobs of the tenant are active as may be.
            IdempotencyConflictError: The key was used for another upload or request.
        """
        now = self._clock()
        fields = {
            "status": "queued",
            "phase": "queued",
            "request": write_request(request).decode(),
            **submission.to_fields(),
            **to_fields(at_start(request)),
            **idempotency_field(idempotency_sha256),
            "created_at": repr(now),
            "updated_at": repr(now),
        }
        replay_key = idempotency_key(idempotency_sha256) if idempotency_sha256 else ""
        tenant = submission.tenant
        bound = max_active if max_of_tenant is None else max_of_tenant
        urgent = urgent_key(tenant) if request.urgent else ""
        lists = [active_of(tenant), jobs_of(tenant), TENANTS]
        answer = self._create(
            keys=[record_key(job_id), ACTIVE, JOBS, replay_key, urgent, *lists],
            args=[job_id, repr(now), self._ttl, max_active, digest, max_urgent, bound, tenant, *_flat(fields)],
        )
        known_id, known_digest = (part.decode() for part in cast("list[bytes]", answer))
        if not known_id:
            raise _REFUSALS.get(known_digest, QueueFullError)
        if known_digest != digest:
            raise IdempotencyConflictError
        return Created(record=JobRecord.queued(known_id, request, submission, at=now), replayed=known_id != job_id)

    def read(self, job_id: str) -> JobRecord | None:
        """Returns the record, or None when there is none (any more).

        Raises:
            UnreadableRecordError: The record is not one that this version writes.
        """
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(record_key(job_id)))
        try:
            return JobRecord.from_fields(job_id, stored) if b"status" in stored else None
        except (KeyError, ValueError) as error:
            raise UnreadableRecordError(job_id) from error

    def tenant(self, job_id: str) -> str:
        """Returns the tenant of a job, also of a record that `read` cannot read."""
        stored = cast("bytes | None", self._redis.hget(record_key(job_id), "tenant"))
        return LOCAL_TENANT if stored is None else stored.decode()

    def status(self, job_id: str) -> Status | None:
        """Returns the status alone, also of a record that `read` cannot read; None if there is no record."""
        stored = cast("bytes | None", self._redis.hget(record_key(job_id), "status"))
        return None if stored is None else cast("Status", stored.decode())

    def enter(
        self,
        job_id: str,
        phase: Phase,
        *,
        image: JobInput | None = None,
        labels: Mapping[DriftLabel, str] | None = None,
        samples_total: int | None = None,
    ) -> bool:
        """Moves a job to a phase; one that it is in already is no new event.

        Args:
            job_id: The job's id.
            phase: The phase it enters.
            image: Facts of the decoded image or images, once they are known.
            labels: `modality` and `scanner_model` of the image, if drift is counted by them.
            samples_total: Samples that it may take, once the variants are known.
        """
        known = {} if image is None else {"image": INPUT.dump_json(image).decode()}
        kept: Mapping[str, str] = {} if labels is None else {str(label): value for label, value in labels.items()}
        fields = {"status": "running", "phase": phase, **known, **kept}
        if samples_total is not None:
            fields["samples_total"] = str(samples_total)
        entered = self._change(job_id, "phase", phase_data(phase, image), fields)
        tracing.enter_phase(phase)
        return entered

    def progress(
        self,
        job_id: str,
        *,
        samples_done: int,
        samples_total: int,
        counts: tuple[int, ...],
        invalid: int,
        running_radius: float | None = None,
        running_bound: RunningBound | None = None,
    ) -> bool:
        """Publishes progress of a certification.

        Args:
            job_id: The job's id.
            samples_done: Samples of selection and estimation that are done.
            samples_total: Samples that it may take.
            counts: Estimation samples of each class so far.
            invalid: Estimation samples without finite logits so far.
            running_radius: With a target radius, the radius that is proved so far.
            running_bound: At a fixed n and sigma, an estimate of the outcome.
        """
        running = running_numbers(running_radius, running_bound)
        done = {"samples_done": samples_done, "samples_total": samples_total}
        data: dict[str, Any] = {**done, "counts": counts, "invalid": invalid, **running}
        fields = {name: json.dumps(value) for name, value in {"samples_done": samples_done, **running}.items()}
        return self._change(job_id, "progress", data, fields)

    def images_progress(self, job_id: str, *, images_done: int, images_total: int) -> bool:
        """Publishes how many images of a tuning are decoded or attacked, of all images of this phase."""
        return self._publish(job_id, {"images_done": images_done, "images_total": images_total})

    def epoch_progress(self, job_id: str, *, epochs_done: int, epochs_total: int, loss: float) -> bool:
        """Publishes that an epoch of a tuning is done.

        Args:
            job_id: The job's id.
            epochs_done: Epochs that are done.
            epochs_total: Epochs that it takes.
            loss: Mean loss of the last one.
        """
        return self._publish(job_id, {"epochs_done": epochs_done, "epochs_total": epochs_total, "loss": loss})

    def succeed(
        self, job_id: str, result: JobResult, *, certificate: str | None = None, outputs: OutputOutcomes | None = None
    ) -> bool:
        """Ends a job with its result.

        Args:
            job_id: The job's id.
            result: The result.
            certificate: SHA-256 of the signed document; None for a tuning.
            outputs: The reports that were made, and why others were not; None for a tuning.
        """
        fields = {"result": RESULT.dump_json(result).decode()}
        if certificate is not None:
            fields["certificate"] = certificate
        if outputs is not None:
            fields["outputs"] = OUTPUT_OUTCOMES.dump_json(outputs).decode()
        if isinstance(result, CertifiedResult | AbstainedResult):
            fields["samples_done"] = str(result.samples_drawn)
        return self._ending.end(job_id, "succeeded", fields, result=result)

    def fail(self, job_id: str, code: str, detail: str) -> bool:
        """Ends a job with an error.

        Args:
            job_id: The job's id.
            code: A code of `certrad.models.errors`.
            detail: What was wrong, as a sentence without patient data.
        """
        error = JobError(code=code, detail=detail)
        fields = {"error": ERROR.dump_json(error).decode()}
        return self._ending.end(job_id, "failed", fields, error=error)

    def cancel(self, job_id: str) -> bool:
        """Ends a job because its owner wants it; returns False if it has ended already."""
        return self._ending.end(job_id, "cancelled", {})

    def erase(self, job_id: str) -> None:
        """Removes every trace of a job from Redis."""
        forget_idempotency_key(self._redis, job_id)
        keys = [record_key(job_id), events_key(job_id), callback_key(job_id), *keys_of_running(job_id)]
        self._redis.delete(*keys, REWRITTEN)  # the append-only file holds it still, and no list says so
        for waiting in (CALLBACKS, DEAD_CALLBACKS):
            self._redis.zrem(waiting, job_id)
        self.listing.remove(job_id)

    def active(self) -> list[str]:
        """Returns the ids of jobs that have not ended, oldest first."""
        return self.listing.active()

    def _readable(self, job_id: str) -> JobRecord | None:
        try:
            return self.read(job_id)
        except UnreadableRecordError:
            return None

    def _publish(self, job_id: str, numbers: Mapping[str, float]) -> bool:
        return self._change(job_id, "progress", numbers, {name: repr(value) for name, value in numbers.items()})

    def _change(self, job_id: str, event: str, data: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
        changed = _flat({**fields, "updated_at": repr(self._clock())})
        args: list[str | int] = [_EVENTS_KEPT, self._ttl, event, json.dumps(data), *changed]
        return bool(self._advance(keys=[record_key(job_id), events_key(job_id)], args=args))


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]
