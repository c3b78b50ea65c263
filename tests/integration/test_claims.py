"""Claims of batches, against a real Redis: a standing claim is nobody else's, and no batch is ever forgotten."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from certrad.models.smoothing import Layout
from certrad.workers.contract.names import ENGINE_QUEUE, claims_key, lapses_key, ledger_key
from certrad.workers.contract.queues import queue
from certrad.workers.contract.records import Records
from certrad.workers.contract.tickets import MARK
from certrad.workers.engine.claims import Claims, current_run, limit_of
from certrad.workers.engine.ledger import JobEndedError, RedisLedger
from tests.support.engine_jobs import decoded
from tests.support.finished_jobs import REQUEST

JOB = "job"
LAYOUT = Layout(n=200, batch_size=32, block_size=16)
BATCHES = list(LAYOUT.batches)


@pytest.fixture(autouse=True)
def _job(redis: Redis) -> None:
    decoded(redis, JOB, REQUEST, np.zeros((3, 64, 64), np.float32))


def claims(redis: Redis, run: str = "", *, begun: bool = True) -> Claims:
    """The claims of one engine."""
    made = Claims(redis=redis, job_id=JOB, run=run, ttl=600)
    if begun:
        made.begin(LAYOUT)
    return made


def commit(redis: Redis, start: int, run: str = "") -> None:
    """Commits every block of a batch."""
    ledger = RedisLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None, part=run, engine="engine")
    for block in LAYOUT.blocks(start):
        ledger.commit(block, bytes(2 * len(range(200)[block : block + 16])))


def lapse(redis: Redis) -> None:
    """Lets every standing claim lapse."""
    redis.zunionstore(lapses_key(JOB), {lapses_key(JOB): 0})


STEP = st.tuples(st.integers(0, 3), st.sampled_from(["claim", "commit", "die", "leave", "lapse", "resume"]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=40))
def test_a_batch_has_one_engine_at_a_time_and_every_batch_gets_done(redis: Redis, steps: list[tuple[int, str]]) -> None:
    redis.delete(claims_key(JOB), lapses_key(JOB), ledger_key(JOB))
    engines = [claims(redis) for _ in range(4)]
    claimed: list[set[int]] = [set() for _ in engines]  # by each since it began, also what lapsed since
    standing: dict[int, int] = {}  # batch -> its engine
    done: set[int] = set()
    for who, action in steps:
        mine = [start for start, engine in standing.items() if engine == who]
        if action == "claim":
            start = engines[who].lead(LAYOUT.n) if who == 0 else engines[who].help()
            assert start not in done
            assert start not in standing
            assert start is not None or engines[who].has_to_wait or done | standing.keys() == set(BATCHES)
            if start is not None:
                standing[start] = who
                claimed[who].add(start)
        elif action == "commit" and mine:
            commit(redis, mine[0])
            done.add(mine[0])
            del standing[mine[0]]
        elif action == "die":  # its claims stand until they lapse
            engines[who], claimed[who] = claims(redis, begun=False), set()
        elif action == "leave":
            engines[who].release()
            standing = {start: engine for start, engine in standing.items() if start not in claimed[who]}
            claimed[who] = set()
        elif action == "lapse":
            lapse(redis)
            standing = {}
        elif action == "resume":
            engines[who].begin(LAYOUT)
    lapse(redis)
    last = claims(redis)
    while (start := last.lead(LAYOUT.n)) is not None:
        commit(redis, start)
    found = RedisLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None).committed()
    assert sorted(found) == list(range(0, 200, 16))


def test_a_batch_with_a_missing_block_is_handed_out_and_a_complete_one_is_not(redis: Redis) -> None:
    commit(redis, 0)
    RedisLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None).commit(32, bytes(32))
    assert claims(redis).help() is None  # nobody leads yet, so nobody may go beyond sample 0
    assert claims(redis).lead(LAYOUT.n) == 32


def test_a_helper_keeps_to_the_limit_of_the_engine_that_has_the_job(redis: Redis) -> None:
    leading, helping = claims(redis), claims(redis)
    assert (leading.lead(64), helping.help(), helping.help()) == (0, 32, None)
    assert helping.has_to_wait
    leading.lead(128)
    assert helping.help() == 96
    assert not helping.has_to_wait


def test_a_helper_gets_nothing_while_a_job_waits_for_an_engine(redis: Redis) -> None:
    leading, helping = claims(redis), claims(redis)
    leading.lead(LAYOUT.n)
    key = queue(redis, ENGINE_QUEUE).key
    redis.rpush(key, f"{JOB}{MARK}0")
    assert (helping.help(), helping.job_waits) == (32, False)
    redis.lpush(key, "another-certify")
    assert (helping.help(), helping.job_waits) == (None, True)
    assert leading.lead(LAYOUT.n) == 64


def test_released_claims_are_handed_out_at_once(redis: Redis) -> None:
    leading, leaving = claims(redis), claims(redis)
    assert [leading.lead(LAYOUT.n), leaving.help(), leaving.help(), leading.lead(LAYOUT.n)] == [0, 32, 64, 96]
    leaving.release()
    assert {leading.lead(LAYOUT.n), leading.lead(LAYOUT.n)} == {32, 64}


def test_the_claim_of_an_engine_that_died_lapses(redis: Redis) -> None:
    dead = claims(redis)
    dead.lead(32)
    alive = claims(redis)
    now = alive.wall_clock()
    alive.wall_clock = lambda: now + 50
    assert alive.lead(32) is None
    alive.wall_clock = lambda: now + 70
    assert alive.lead(32) == 0


def test_a_slow_engine_has_longer_for_its_batches(redis: Redis) -> None:
    slow = claims(redis)
    times = iter(range(0, 10_000, 20))
    slow.clock = lambda: float(next(times))
    for _ in range(3):
        slow.lead(LAYOUT.n)
    lapses: Any = redis.zrange(lapses_key(JOB), 0, -1, withscores=True)
    assert max(score for _, score in lapses) / 1000 - slow.wall_clock() > 300


@pytest.mark.parametrize(("seconds", "life"), [(0.001, 10.0), (1_000.0, 600.0)], ids=["fast", "slow"])
def test_the_life_of_a_claim_has_bounds(redis: Redis, seconds: float, life: float) -> None:
    engine = claims(redis)
    times = iter(range(10_000))
    engine.clock = lambda: seconds * next(times)
    engine.wall_clock = lambda: 1_000.0
    for _ in range(3):
        engine.lead(LAYOUT.n)
    assert redis.zscore(lapses_key(JOB), "64") == 1_000 * (1_000 + life)


def test_an_ended_run_or_another_one_has_no_batches(redis: Redis) -> None:
    leading, helping = claims(redis, "selector:"), claims(redis, "selector:")
    assert leading.lead(LAYOUT.n) == 0
    assert current_run(redis, JOB) == ("selector:", LAYOUT)
    following = claims(redis, "route-1:")
    assert helping.help() is None
    assert following.lead(LAYOUT.n) == 0
    assert helping.help() is None
    following.end()
    assert following.lead(LAYOUT.n) is None
    assert current_run(redis, JOB) is None


def test_the_end_of_the_job_ends_its_claims(redis: Redis) -> None:
    leading = claims(redis)
    leading.lead(LAYOUT.n)
    Records(redis, ttl=600).cancel(JOB)
    for attempt in (leading.help, lambda: leading.lead(LAYOUT.n), lambda: leading.begin(LAYOUT)):
        with pytest.raises(JobEndedError):
            attempt()
    assert not redis.exists(claims_key(JOB), lapses_key(JOB), ledger_key(JOB))


def test_the_claims_of_a_job_expire(redis: Redis) -> None:
    leading = claims(redis)
    leading.lead(LAYOUT.n)
    assert 0 < redis.ttl(claims_key(JOB)) <= 600
    assert 0 < redis.ttl(lapses_key(JOB)) <= 600


def test_who_committed_is_counted_beside_the_claims(redis: Redis) -> None:
    claims(redis).lead(LAYOUT.n)
    commit(redis, 0)
    commit(redis, 0)
    assert redis.hget(claims_key(JOB), "by:engine") == b"2"


@pytest.mark.parametrize("same", [True, False])
def test_a_block_that_was_committed_before_is_told(redis: Redis, same: bool) -> None:
    told: list[bool] = []
    ledger = RedisLedger(redis, JOB, ttl=600, raise_if_stopped=lambda: None, on_redone=told.append)
    first = ledger.commit(0, bytes(32))
    assert told == []
    assert ledger.commit(0, bytes(32) if same else bytes([1] * 32)) == first
    assert told == [same]


def test_a_run_that_may_stop_early_is_not_overrun() -> None:
    layout = Layout(n=100_000, batch_size=64, block_size=64)
    assert limit_of(layout, 0, may_stop_early=True) == 8 * 64
    assert limit_of(layout, 64_000, may_stop_early=True) == 96_000
    assert limit_of(layout, 96_000, may_stop_early=True) == layout.n
    assert limit_of(layout, 0, may_stop_early=False) == layout.n
