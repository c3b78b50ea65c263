"""The second step: sends chosen instances to the service, follows their jobs, and fetches what they end with."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.pacs.blame import is_down, may_pass
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
        spool: The instances that were pushed.
        patience: Whom to leave alone.
        key: The secret under which the UID of an instance enters the Idempotency-Key.
        most_attempts: Refusals after which an instance is given up.
        notes: Where it writes what happens.
    """

    instances: Instances
    pacs: DicomWeb
    service: Service
    spool: ReceivedSpool
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
            if self.patience.is_left_alone(SERVICE, now):
                break
            if instance.received is None and self.patience.is_left_alone(PACS, now):
                continue
            self._submit(instance, now)
            changed.append(instance.pull)
        for instance in self.instances.due("submitted", now):
            if self.patience.is_left_alone(SERVICE, now):
                break
            if self._follow(instance, now):
                changed.append(instance.pull)
        return changed

    def _submit(self, instance: Instance, now: float) -> None:
        content = self._retrieved(instance, now) if instance.received is None else self._received(instance)
        if content is None:
            return
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

    def _retrieved(self, instance: Instance, now: float) -> bytes | None:
        try:
            content = self.pacs.instance(instance.study, instance.series, instance.sop)
            self.patience.answered(PACS)
        except ExchangeError as error:
            self._put_off(instance, error, PACS, now)
            return None
        self.notes.write("instance retrieved", instance=instance.sop, number=instance.id, bytes=len(content))
        return content

    def _received(self, instance: Instance) -> bytes | None:
        try:
            return self.spool.read(str(instance.received))
        except FileNotFoundError:
            self._fail(instance, "received_file_lost")
            return None

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
                    self._end(instance, now)
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

    def _end(self, instance: Instance, now: float) -> None:
        """Puts the outputs into the outbox; one that cannot be had does not take the others along."""
        reports, failures = [], []
        for output in instance.outputs:
            try:
                reports.append(self._report(instance, output))
            except ExchangeError as error:
                failures.append((output, error))
        for _, missing in failures:
            has_attempts = may_pass(missing) and instance.attempts + 1 < self.most_attempts
            if has_attempts or is_down(missing, self.service.ask):
                self._put_off(instance, missing, SERVICE, now)
                return
            if missing.code in _WORTH_ANOTHER_JOB and self._has_another_round(instance):
                self._again_or_fail(instance, missing.code, now)
                return
        if not reports:
            self._fail(instance, failures[0][1].code if failures else "not_returned")
            return
        for output, missing in failures:
            number, reason = instance.id, missing.code
            self.notes.write("output missing", job=instance.job, number=number, output=output, reason=reason)
        self.instances.end(instance, reports, reason=failures[0][1].code if failures else None)

    def _report(self, instance: Instance, output: str) -> Report:
        content = self.service.output(str(instance.job), output)
        return Report(output=output, sop=instance_uid(content), content=content)

    def _has_another_round(self, instance: Instance) -> bool:
        return (instance.round + 1) % MOST_JOBS != 0

    def _again_or_fail(self, instance: Instance, code: str, now: float) -> None:
        if code in _WORTH_ANOTHER_JOB and self._has_another_round(instance):
            self.instances.again(instance, due=now + self.patience.wait(instance.round % MOST_JOBS), reason=code)
        else:
            self._fail(instance, code)

    def _put_off(self, instance: Instance, error: ExchangeError, side: str, now: float) -> None:
        if is_down(error, self.pacs.ask if side == PACS else self.service.ask):
            due = self.patience.silent(side, now)
            self.instances.postpone(instance, due=due, reason=error.code, counts=False)
            return
        self.patience.answered(side)
        if instance.attempts + 1 >= self.most_attempts:
            self._fail(instance, error.code)
        else:
            wait = self.patience.wait_long if may_pass(error) else self.patience.wait
            self.instances.postpone(instance, due=now + wait(instance.attempts), reason=error.code)

    def _fail(self, instance: Instance, code: str) -> None:
        self.instances.fail(instance, code)
        self.notes.write("instance failed", job=instance.job, number=instance.id, rule=instance.rule, reason=code)
