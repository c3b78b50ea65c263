"""Self-tests in Redis: those that an administrator orders, and those that workers failed at their start."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from redis import Redis

from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.selftest import SelfTestReport
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.names import (
    ENGINE_QUEUE,
    FAILED_SELFTESTS,
    SELFTEST_TASKS,
    SelfTestPart,
    selftest_key,
    turns_key,
)
from certrad.workers.contract.queues import QUEUES, queue
from certrad.workers.contract.turns import FINISH

_KEPT_SECONDS: Final = 86_400
_FAILURE_KEPT_SECONDS: Final = 3_600
_TIME_LIMIT_SECONDS: Final = 600
_ORDERED_AT: Final = "ordered_at"


class SelfTestFailedError(Exception):
    """The self-test of this process failed; it must take no work."""

    def __init__(self, report: SelfTestReport) -> None:
        super().__init__(f"the self-test failed: {', '.join(report.failed_checks)}")
        self.report = report


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSelfTest:
    """A worker that did not pass its self-test at its start.

    Attributes:
        host: Name of its machine.
        device: The device of an engine; the queue of a worker that has none.
        failed_at: Seconds since 1970.
        checks: The checks that failed.
    """

    host: str
    device: str
    failed_at: float
    checks: tuple[str, ...]

    @property
    def queue(self) -> str:
        """Returns the queue of the worker."""
        return self.device if self.device in QUEUES else ENGINE_QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedSelfTest:
    """A self-test that was ordered, with the reports that have come in."""

    id: str
    ordered_at: float
    reports: Mapping[SelfTestPart, SelfTestReport]

    @property
    def complete(self) -> bool:
        """Returns whether every part has reported."""
        return self.reports.keys() == SELFTEST_TASKS.keys()

    @property
    def passed(self) -> bool:
        """Returns whether every report that has come in passed."""
        return all(report.passed for report in self.reports.values())


class SelfTests:
    """Orders self-tests, and keeps their reports for a day."""

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._clock = clock

    def order(self) -> OrderedSelfTest:
        """Puts the parts of a new self-test before everything that waits; an engine takes it between two jobs."""
        test = OrderedSelfTest(id=uuid.uuid4().hex, ordered_at=self._clock(), reports={})
        key = selftest_key(test.id)
        self._redis.hset(key, _ORDERED_AT, repr(test.ordered_at))
        self._redis.expire(key, _KEPT_SECONDS)
        for part, (name, path) in SELFTEST_TASKS.items():
            entry = f"{test.id}-selftest-{part}"
            queue(self._redis, name).enqueue_call(
                func=path,
                args=(test.id,),
                job_id=entry,
                timeout=_TIME_LIMIT_SECONDS,
                result_ttl=60,
                failure_ttl=_KEPT_SECONDS,
                at_front=True,
            )
            self._redis.hset(turns_key(name), entry, f"{FINISH}:0:{LOCAL_TENANT}")  # nothing is placed before it
        return test

    def put(self, test_id: str, part: SelfTestPart, report: SelfTestReport) -> None:
        """Adds the report of a part; nothing if the self-test has expired."""
        key = selftest_key(test_id)
        if self._redis.exists(key):
            self._redis.hset(key, part, encode_card(report))
            self._redis.expire(key, _KEPT_SECONDS)

    def read(self, test_id: str) -> OrderedSelfTest | None:
        """Returns a self-test, or None if there is none with this id."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(selftest_key(test_id)))
        if _ORDERED_AT.encode() not in stored:
            return None
        return OrderedSelfTest(
            id=test_id,
            ordered_at=float(stored[_ORDERED_AT.encode()]),
            reports={
                part: decode_card(SelfTestReport, stored[part.encode()], allow_unknown=True)
                for part in SELFTEST_TASKS
                if part.encode() in stored
            },
        )

    def publish_failure(self, failed: FailedSelfTest) -> None:
        """Publishes that a worker takes no work because its self-test failed."""
        self._redis.hset(FAILED_SELFTESTS, _place(failed.host, failed.device), encode_card(failed))
        self._redis.expire(FAILED_SELFTESTS, _FAILURE_KEPT_SECONDS)

    def forget_failure(self, host: str, device: str) -> None:
        """Removes what `publish_failure` published: a worker of this device or queue has passed."""
        self._redis.hdel(FAILED_SELFTESTS, _place(host, device))

    def failures(self) -> list[FailedSelfTest]:
        """Returns the workers whose last self-test failed within the last hour, by host, and by device or queue."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(FAILED_SELFTESTS))
        found = [decode_card(FailedSelfTest, stored[place], allow_unknown=True) for place in sorted(stored)]
        return [failed for failed in found if failed.failed_at > self._clock() - _FAILURE_KEPT_SECONDS]


def _place(host: str, device: str) -> str:
    return f"{host} {device}"
