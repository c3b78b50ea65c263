"""The second step: sends chosen instances to the service, follows their jobs, and fetches what they end with."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from certrad.workers.pacs.dicomweb import DicomWeb
from certrad.workers.pacs.failures import ExchangeError
from certrad.workers.pacs.instances import MOST_JOBS, Instance, Instances, Report
from certrad.workers.pacs.multipart import instance_uid
from certrad.workers.pacs.notes import PACS, SERVICE, Notes
from certrad.workers.pacs.patience import Patience
from certrad.workers.pacs.service import Service

_POLL_SECONDS: Final = 1.0
_WORTH_ANOTHER_JOB: Final = frozenset(
    {
        "worker_lost",
        "job_timeout",
        "engine_mismatch",
        "redis_unavailable",
        "storage_unavailable",
        "backbone_unavailable",
        "internal_error",
        "job_unreadable",
        "job_not_found",
        "output_expired",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certifying:
    """Certifies instances.

    Attributes:
        instances: The instances that were chosen.
        pacs: The PACS.
        service: The service.
        patience: Whom to leave alone.
        key: The secret under which the UID of an instance enters the Idempotency-Key.
        most_attempts: Refusals after which an instance is given up.
        notes: Where it writes what happens.
    """

    instances: Instances
    pacs: DicomWeb
    service: Service
    patience: Patience
    key: bytes
    most_attempts: int
    notes: Notes

    def step(self, now: float) -> list[int]:
        """Submits the instances that are due, and asks for the jobs that are.

        Args:
            now: Seconds since 1970.

        Returns:
            The pulls of which something has changed.
        """
        changed = []
        for instance in self.instances.due("chosen", now):
            if self.patience.is_left_alone(PACS, now) or self.patience.is_left_alone(SERVICE, now):
                break
            self._submit(instance, now)
            changed.append(instance.pull)
        for instance in self.instances.due("submitted", now):
            if self.patience.is_left_alone(SERVICE, now):
                break
            if self._follow(instance, now):
                changed.append(instance.pull)
        return changed

    def _submit(self, instance: Instance, now: float) -> None:
        try:
            content = self.pacs.instance(instance.study, instance.series, instance.sop)
            self.patience.answered(PACS)
        except ExchangeError as error:
            self._put_off(instance, error, PACS, now)
            return
        self.notes.write("instance retrieved", instance=instance.sop, number=instance.id, bytes=len(content))
        try:
            job = self.service.submit(content, instance.fields, key=self._idempotency_key(instance, content))
            self.patience.answered(SERVICE)
        except ExchangeError as error:
            if error.retryable:
                self._put_off(instance, error, SERVICE, now)
            else:
                self._fail(instance, error.code)
            return
        self.instances.submitted(instance, job, due=now + _POLL_SECONDS)

    def _idempotency_key(self, instance: Instance, content: bytes) -> str:
        hidden = hmac.new(self.key, instance.sop.encode(), hashlib.sha256).hexdigest()
        parts = (hidden, hashlib.sha256(content).hexdigest(), instance.settings, str(instance.round))
        return hashlib.sha256("/".join(parts).encode()).hexdigest()

    def _follow(self, instance: Instance, now: float) -> bool:
        try:
            job = self.service.job(str(instance.job))
            self.patience.answered(SERVICE)
            match job:
                case {"status": "queued" | "running"}:
                    self.instances.postpone(instance, due=now + _POLL_SECONDS, counts=False)
                    return False
                case {"status": "succeeded"}:
                    self.instances.end(instance, [self._report(instance, output) for output in instance.outputs])
                case {"error": {"code": str(code)}}:
                    self._again_or_fail(instance, code, now)
                case _:
                    self._fail(instance, str(job.get("status")))
        except ExchangeError as error:
            if error.retryable:
                self._put_off(instance, error, SERVICE, now)
            else:
                self._again_or_fail(instance, error.code, now)
        return True

    def _report(self, instance: Instance, output: str) -> Report:
        content = self.service.output(str(instance.job), output)
        return Report(output=output, sop=instance_uid(content), content=content)

    def _again_or_fail(self, instance: Instance, code: str, now: float) -> None:
        if code in _WORTH_ANOTHER_JOB and (instance.round + 1) % MOST_JOBS:
            self.instances.again(instance, due=now + self.patience.wait(instance.round % MOST_JOBS), reason=code)
        else:
            self._fail(instance, code)

    def _put_off(self, instance: Instance, error: ExchangeError, side: str, now: float) -> None:
        if error.retryable:
            due = self.patience.silent(side, now)
            self.instances.postpone(instance, due=due, reason=error.code, counts=False)
        elif instance.attempts + 1 >= self.most_attempts:
            self._fail(instance, error.code)
        else:
            due = now + self.patience.wait(instance.attempts)
            self.instances.postpone(instance, due=due, reason=error.code)

    def _fail(self, instance: Instance, code: str) -> None:
        self.instances.fail(instance, code)
        self.notes.write("instance failed", job=instance.job, number=instance.id, rule=instance.rule, reason=code)
