"""The script that places entries in the queues of a real Redis does what its model says, whoever else places some."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import cast

import pytest
from redis import Redis

from certrad.models.errors import Rejected
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.names import ENGINE_QUEUE, INTAKE_QUEUE, turns_key
from certrad.workers.contract.queues import enqueue, queue, rq_job, rq_job_id
from certrad.workers.contract.records import Records
from certrad.workers.contract.stages import forget_stages, stop_stages
from certrad.workers.contract.submission import Submission
from certrad.workers.contract.turns import Turn, forget, index_of, next_turn, place, precedence_of, read_turns
from certrad.workers.engine import tasks as engine
from certrad.workers.engine.runtime import Runtime
from certrad.workers.settings import WorkerSettings

pytestmark = pytest.mark.integration

KEY = f"rq:queue:{ENGINE_QUEUE}"
TENANTS = ("a", "b", "c")
REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)
Push = Callable[..., None]


@pytest.fixture
def push(redis: Redis, settings: WorkerSettings) -> Push:
    """Sends jobs of a tenant to the engines."""

    def sent(*jobs: str, tenant: str = LOCAL_TENANT, urgent: bool = False) -> None:
        for job in jobs:
            enqueue(redis, "certify", job, settings=settings, urgent=urgent, tenant=tenant)

    return sent


def waiting(redis: Redis) -> list[str]:
    return [entry.rpartition("-")[0] for entry in queue(redis, ENGINE_QUEUE).job_ids]


def stored(redis: Redis) -> dict[bytes, bytes]:
    return cast("dict[bytes, bytes]", redis.hgetall(turns_key(ENGINE_QUEUE)))


@pytest.mark.parametrize("seed", range(8))
def test_the_script_orders_a_queue_as_its_model_does(redis: Redis, push: Push, seed: int) -> None:
    random, model, last = Random(seed), list[tuple[str, Turn]](), dict[tuple[int, str], Turn]()
    for number in range(60):
        if random.random() < 0.4 and model:
            redis.lpop(KEY)
            _, turn = model.pop(0)
            last[turn.precedence, turn.tenant] = turn
        tenant, urgent = random.choice(TENANTS), random.random() < 0.25
        turns = [turn for _, turn in model]
        precedence = precedence_of("certify", urgent=urgent)
        turn = next_turn(turns, last.values(), precedence=precedence, tenant=tenant)
        model.insert(index_of(turn, turns), (f"j{number}", turn))
        push(f"j{number}", tenant=tenant, urgent=urgent)
        assert waiting(redis) == [job for job, _ in model]
        ids = queue(redis, ENGINE_QUEUE).job_ids
        assert read_turns(ids, stored(redis)) == [turn for _, turn in model]


def test_the_turns_of_entries_that_are_gone_are_forgotten(redis: Redis, push: Push) -> None:
    push(*(f"j{number}" for number in range(20)))
    redis.ltrim(KEY, 15, -1)
    push("last")
    assert redis.llen(KEY) == 6
    assert redis.hlen(turns_key(ENGINE_QUEUE)) == 6 + 1  # and the last turn of the tenant


def test_only_tenants_of_the_newest_round_are_remembered(redis: Redis, push: Push) -> None:
    for number in range(30):
        push(f"j{number}", tenant=f"tenant-{number}")
        redis.delete(KEY)
        push(f"local-{number}")
        redis.delete(KEY)
    push("last")
    assert redis.hlen(turns_key(ENGINE_QUEUE)) <= 3


def test_a_tenant_who_had_no_turn_in_this_round_goes_before_those_who_had_one(redis: Redis, push: Push) -> None:
    push("a1", "a2", "a3", tenant="a")
    redis.lpop(KEY)
    push("b1", tenant="b")
    assert waiting(redis) == ["b1", "a2", "a3"]
    redis.lpop(KEY)
    push("b2", tenant="b")
    assert waiting(redis) == ["a2", "b2", "a3"]


def test_a_turn_counts_although_a_worker_took_the_entry_before_it_was_placed(redis: Redis, push: Push) -> None:
    place(redis, ENGINE_QUEUE, "taken-certify", urgent=False, tenant="a")
    push("a1", tenant="a")
    push("b1", tenant="b")
    assert waiting(redis) == ["b1", "a1"]


def test_many_senders_and_takers_lose_no_entry_and_take_none_twice(redis: Redis, push: Push) -> None:
    sent = {tenant: [f"{tenant}{number}" for number in range(40)] for tenant in TENANTS}
    with ThreadPoolExecutor(len(TENANTS) + 2) as pool:
        senders = [pool.submit(push, *jobs, tenant=tenant) for tenant, jobs in sent.items()]

        def take() -> list[str]:
            taken = []
            while (entry := cast("bytes | None", redis.lpop(KEY))) is not None or not all(
                sender.done() for sender in senders
            ):
                if entry is not None:
                    taken.append(entry.decode())
            return taken

        takers = [pool.submit(take) for _ in range(2)]
        taken = Counter(entry for taker in takers for entry in taker.result(60))
    assert taken == Counter(rq_job_id(job, "certify") for jobs in sent.values() for job in jobs)


def test_an_entry_that_a_worker_has_taken_is_not_put_back(redis: Redis, push: Push) -> None:
    push("taken")
    redis.lpop(KEY)
    assert not place(redis, ENGINE_QUEUE, "taken-certify", urgent=False, tenant="a")
    assert waiting(redis) == []


def test_a_full_redis_leaves_the_entry_in_the_queue(redis: Redis, push: Push) -> None:
    push("a1", "a2", tenant="a")
    redis.rpush(KEY, "b1-certify")  # a process has pushed it and not placed it yet
    redis.config_set("maxmemory", 1)
    try:
        assert place(redis, ENGINE_QUEUE, "b1-certify", urgent=False, tenant="b")
    finally:
        redis.config_set("maxmemory", "256mb")
    assert waiting(redis) == ["a1", "a2", "b1"]


def test_the_place_of_an_entry_is_repaired_unless_it_has_one(redis: Redis, push: Push) -> None:
    push("a1", "a2", "a3", tenant="a")
    redis.rpush(KEY, "b1-certify")
    place(redis, ENGINE_QUEUE, "b1-certify", urgent=False, tenant="b", reason="repair")
    assert waiting(redis) == ["a1", "b1", "a2", "a3"]
    place(redis, ENGINE_QUEUE, "a3-certify", urgent=False, tenant="a", reason="repair")
    assert waiting(redis) == ["a1", "b1", "a2", "a3"]


def test_an_entry_that_rq_put_at_the_front_stays_there(redis: Redis, push: Push) -> None:
    push("a1", "a2", tenant="a")
    redis.lpush(KEY, "b1-certify")
    place(redis, ENGINE_QUEUE, "b1-certify", urgent=False, tenant="b", reason="repair")
    push("c1", tenant="c")
    assert waiting(redis) == ["b1", "a1", "c1", "a2"]


def test_a_job_that_goes_on_comes_behind_the_entries_of_this_round(redis: Redis, push: Push) -> None:
    push("a1", "a2", tenant="a")
    push("b1", "b2", tenant="b")
    redis.rpush(KEY, "t-tune")
    place(redis, ENGINE_QUEUE, "t-tune", urgent=False, tenant="a", reason="again")
    assert waiting(redis) == ["a1", "b1", "t", "a2", "b2"]
    redis.ltrim(KEY, 3, -1)  # the round is over
    redis.rpush(KEY, "t-tune")
    place(redis, ENGINE_QUEUE, "t-tune", urgent=False, tenant="t", reason="again")
    assert waiting(redis) == ["a2", "b2", "t"]
    push("c1", tenant="c")
    assert waiting(redis) == ["c1", "a2", "b2", "t"]


def test_a_stage_that_nobody_knows_goes_last_placed_or_not(redis: Redis, push: Push) -> None:
    redis.rpush(KEY, "x-assist-0a1b2c3d")
    push("a1", tenant="a")
    redis.rpush(KEY, "y-assist")
    place(redis, ENGINE_QUEUE, "y-assist", urgent=True, tenant="b")
    push("a2", tenant="a")
    assert waiting(redis) == ["a1", "a2", "x-assist", "y"]


def test_a_forgotten_turn_counts_as_that_of_the_entry_before(redis: Redis, push: Push) -> None:
    push("a1", "a2", tenant="a")
    forget(redis, ENGINE_QUEUE, "a2-certify")
    push("b1", tenant="b")
    assert waiting(redis) == ["a1", "a2", "b1"]


def test_jobs_that_were_cancelled_while_they_waited_had_no_turn(redis: Redis, push: Push) -> None:
    push(*(f"a{number}" for number in range(256)), tenant="a")
    cancelled = [f"b{number}" for number in range(100)]
    push(*cancelled, tenant="b")
    for job in cancelled:
        stop_stages(redis, job)
    push("next", tenant="b")
    assert waiting(redis).index("next") == 1


def test_a_job_that_was_erased_while_it_waited_had_no_turn(redis: Redis, push: Push) -> None:
    push("b1", tenant="b")
    forget_stages(redis, "b1")
    push("b2", tenant="b")
    push("a1", tenant="a")
    assert waiting(redis) == ["b2", "a1"]


def test_a_job_that_ran_had_its_turn_although_its_rq_job_is_deleted(redis: Redis, push: Push) -> None:
    push("a1", tenant="a")
    redis.lpop(KEY)
    taken = rq_job(redis, "certify", "a1")
    assert taken is not None
    taken.prepare_for_execution("worker", redis.pipeline())
    taken.save()
    forget_stages(redis, "a1")
    push("a2", tenant="a")
    push("b1", tenant="b")
    assert waiting(redis) == ["b1", "a2"]


def test_urgent_entries_take_turns_before_the_normal_ones(redis: Redis, push: Push) -> None:
    push("n1", tenant="a")
    push("u1", "u2", tenant="a", urgent=True)
    push("u3", tenant="b", urgent=True)
    assert waiting(redis) == ["u1", "u3", "u2", "n1"]


@pytest.mark.parametrize("is_refused", [False, True])
def test_jobs_that_an_engine_is_done_with_end_in_turns(
    redis: Redis, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    def work(*_: object) -> None:
        if is_refused:
            raise Rejected("invalid_image", "")

    monkeypatch.setattr(engine, "_runtime", runtime)
    monkeypatch.setattr(engine, "_certify", work)
    records = Records(redis, ttl=600)
    for job, tenant in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        records.create(job, REQUEST, max_active=9, digest="0" * 64, submission=Submission(tenant=tenant))
        engine.certify(job)
    assert queue(redis, INTAKE_QUEUE).job_ids == ["a1-finish", "b1-finish", "a2-finish"]
