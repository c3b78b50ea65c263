"""The engine that has a job waits for the blocks of others, as long as that pays, and ends what it began."""

import threading
import time

import numpy as np
import pytest
from redis import Redis

from certrad.models.smoothing import Layout
from certrad.workers.contract.names import claims_key, lapses_key
from certrad.workers.contract.records import Records
from certrad.workers.engine.claims import Claims, current_run
from certrad.workers.engine.ledger import JobEndedError, RedisLedger
from certrad.workers.engine.shared_ledger import OwnShare, SharedLedger
from tests.support.engine_jobs import decoded
from tests.support.finished_jobs import REQUEST

pytestmark = pytest.mark.integration

JOB = "job"
LAYOUT = Layout(n=2_000, batch_size=64, block_size=64)
LABELS = bytes(2 * 64)


@pytest.fixture(autouse=True)
def _job(redis: Redis) -> None:
    decoded(redis, JOB, REQUEST, np.zeros((3, 64, 64), np.float32))


@pytest.fixture
def ledger(redis: Redis) -> SharedLedger:
    """The ledger of the engine that has the job."""
    return SharedLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None, engine="leader")


@pytest.fixture
def helper(redis: Redis) -> Claims:
    """The claims of another engine."""
    return Claims(redis=redis, job_id=JOB, run="", ttl=600)


def test_a_run_is_begun_before_its_batches_are_claimed(ledger: SharedLedger) -> None:
    with pytest.raises(RuntimeError, match="begin"):
        ledger.claim(0)


@pytest.mark.parametrize(("may_stop_early", "last"), [(True, 7 * 64), (False, 31 * 64)])
def test_a_run_that_may_stop_early_is_claimed_no_further_than_the_limit(
    ledger: SharedLedger, may_stop_early: bool, last: int
) -> None:
    ledger.begin(LAYOUT, may_stop_early=may_stop_early)
    claimed = list(iter(lambda: ledger.claim(0), None))
    assert claimed == list(range(0, last + 1, 64))


def test_blocks_of_others_are_awaited(redis: Redis, ledger: SharedLedger) -> None:
    ledger.begin(LAYOUT, may_stop_early=False)
    with Redis(connection_pool=redis.connection_pool) as client:
        other = RedisLedger(client, JOB, ttl=600, raise_if_stopped=lambda: None, engine="helper")
        ledger._nothing_since = time.monotonic() + 30  # so that the patience does not end before the other is scheduled
        timer = threading.Timer(0.3, lambda: other.commit(64, LABELS))
        timer.start()
        assert ledger.await_helpers([64]) == {64: LABELS}
        timer.join()


def test_the_wait_for_blocks_of_others_and_their_samples_are_no_part_of_the_own_share(redis: Redis) -> None:
    share = OwnShare()
    ledger = SharedLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None, engine="leader", share=share)
    ledger.begin(LAYOUT, may_stop_early=False)
    ledger.commit(0, LABELS)
    RedisLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None, engine="helper").commit(64, LABELS)
    assert ledger.await_helpers([64, 128]) == {64: LABELS}
    assert share.samples == 64
    assert share.waited >= 0.15  # the shortest patience is 0.2 seconds


def test_blocks_that_do_not_come_are_awaited_once_for_all(redis: Redis, ledger: SharedLedger) -> None:
    ledger.begin(LAYOUT, may_stop_early=False)
    while ledger.claim(0) is not None:
        pass
    RedisLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None).commit(0, LABELS)
    began = time.monotonic()
    assert ledger.await_helpers([0, 64]) == {0: LABELS}
    assert time.monotonic() - began >= 0.15  # the shortest patience is 0.2 seconds after there was nothing to claim
    reads: list[int] = []
    read, check = ledger.read, ledger.check
    ledger.read = lambda starts: reads.append(1) or read(starts)  # type: ignore[method-assign, func-returns-value]
    ledger.check = lambda: reads.append(0) or check()  # type: ignore[method-assign, func-returns-value]
    assert ledger.await_helpers([128]) == {}
    assert reads == [1], "the patience ended with the first wait"


def test_a_cancelled_job_ends_the_wait(redis: Redis, ledger: SharedLedger) -> None:
    ledger.begin(LAYOUT, may_stop_early=False)
    ledger._nothing_since = time.monotonic() + 30
    Records(redis, ttl=600).cancel(JOB)
    with pytest.raises(JobEndedError):
        ledger.await_helpers([64])


def test_claims_are_given_back(ledger: SharedLedger, helper: Claims) -> None:
    ledger.begin(LAYOUT, may_stop_early=False)
    assert [ledger.claim(0), ledger.claim(0)] == [0, 64]
    ledger.leave()
    assert {helper.help(), helper.help()} == {0, 64}


def test_after_the_end_nothing_is_left_to_claim_or_to_expire(
    redis: Redis, ledger: SharedLedger, helper: Claims
) -> None:
    ledger.begin(LAYOUT, may_stop_early=False)
    assert [ledger.claim(0), helper.help()] == [0, 64]
    ledger.end()
    assert current_run(redis, JOB) is None
    assert helper.help() is None
    helper.release()
    assert not redis.exists(claims_key(JOB), lapses_key(JOB))
