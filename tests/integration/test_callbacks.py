"""Callbacks are delivered at least once whatever dies, and given up within bounds, on a real Redis and real TLS."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from standardwebhooks import Webhook

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.callbacks import store as stored
from certrad.workers.callbacks.note import Note
from certrad.workers.callbacks.plan import Plan
from certrad.workers.callbacks.sending import Answer, Sending
from certrad.workers.callbacks.service import Callbacks
from certrad.workers.callbacks.store import CallbackStore
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.callbacks import CallbackHosts
from certrad.workers.contract.names import CALLBACKS, DEAD_CALLBACKS, TOTALS, callback_key
from certrad.workers.contract.records import Records
from certrad.workers.contract.submission import Submission
from tests.support.processes import Processes, kill_9, wait_for
from tests.support.receiver import SECRET, Authority, Receiver, make_authority, receiver

pytestmark = pytest.mark.integration

REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)


class Clock:
    """A clock that stands still until a test moves it."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(redis: Redis) -> CallbackStore:
    return CallbackStore(redis)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority") / "files", name="127.0.0.1")


@pytest.fixture
def other(authority: Authority) -> Iterator[Receiver]:
    with receiver(authority) as running:
        yield running


@pytest.fixture
def ended(redis: Redis, clock: Clock) -> Callable[..., str]:
    """Ends a job whose client wants to hear of it."""

    def end(address: str, job: str = "job-1") -> str:
        records = Records(redis, ttl=600, clock=clock)
        submission = Submission(callback=address)
        records.create(job, REQUEST, max_active=10_000, digest="0" * 64, submission=submission)
        records.fail(job, "worker_lost", "gone")
        return job

    return end


@pytest.fixture
def callbacks(store: CallbackStore, authority: Authority, other: Receiver, clock: Clock, tmp_path: Path) -> Callbacks:
    """Returns a sender to the running receiver, with at most three attempts within an hour."""
    hosts = CallbackHosts.read(f"127.0.0.1:{other.port}")
    sending = Sending(hosts=hosts, tls=authority.trust, seconds=10.0)
    plan = Plan(attempts=3, seconds=3_600.0, first_wait=5.0, longest_wait=60.0, chance=lambda: 0.5)
    return Callbacks(store, sending, plan, AuditTrail(tmp_path / "trail"), [SECRET], clock=clock)


def address_of(other: Receiver) -> str:
    return f"https://127.0.0.1:{other.port}/ended"


def only(store: CallbackStore, now: float = float("inf")) -> Note:
    (note,) = store.due(now, limit=10)
    return note


def total(redis: Redis, field: str) -> int:
    return int(redis.hget(TOTALS, field) or 0)


def test_a_callback_is_delivered_once_and_nothing_stays(
    callbacks: Callbacks, store: CallbackStore, redis: Redis, other: Receiver, ended: Callable[..., str], tmp_path: Path
) -> None:
    job = ended(address_of(other))
    callbacks.attempt(only(store))
    assert other.ids == [f"msg_{job}"]
    assert store.due(float("inf"), limit=10) == []
    assert not redis.exists(callback_key(job))
    assert total(redis, stored.DELIVERED) == 1
    trail = "".join(path.read_text() for path in tmp_path.joinpath("trail").glob("*.jsonl"))
    assert "callback_sent" in trail
    assert "127.0.0.1" not in trail


def test_waits_grow_and_the_last_refusal_ends_among_the_dead(
    callbacks: Callbacks, store: CallbackStore, redis: Redis, other: Receiver, ended: Callable[..., str], clock: Clock
) -> None:
    job = ended(address_of(other))
    other.status = 503
    waits = []
    for _ in range(2):
        callbacks.attempt(only(store))
        waits.append(float(redis.zscore(CALLBACKS, job) or 0) - clock.now)
    assert waits == [5.0, 10.0]
    callbacks.attempt(only(store))
    ((note, at),) = store.dead()
    assert (note.attempts, note.reason, at) == (3, "http_503", clock.now)
    assert redis.zcard(CALLBACKS) == 0
    assert (total(redis, stored.RETRIED), total(redis, stored.DEAD)) == (2, 1)
    assert other.ids == [f"msg_{job}"] * 3


def test_a_receiver_that_wants_to_be_left_alone_is(
    callbacks: Callbacks, store: CallbackStore, redis: Redis, other: Receiver, ended: Callable[..., str], clock: Clock
) -> None:
    job = ended(address_of(other))
    other.status, other.headers = 429, {"Retry-After": "300"}
    callbacks.attempt(only(store))
    assert redis.zscore(CALLBACKS, job) == clock.now + 300


def test_an_answer_that_does_not_pass_ends_among_the_dead_at_once(
    callbacks: Callbacks, store: CallbackStore, redis: Redis, other: Receiver, ended: Callable[..., str]
) -> None:
    job = ended(address_of(other))
    other.status = 404
    callbacks.attempt(only(store))
    assert redis.zcard(CALLBACKS) == 0
    assert [(note.job, note.reason) for note, _ in store.dead()] == [(job, "http_404")]
    assert 0 < redis.ttl(callback_key(job)) <= stored.DEAD_SECONDS


def test_one_that_is_too_old_is_given_up_without_another_attempt(
    callbacks: Callbacks, store: CallbackStore, other: Receiver, ended: Callable[..., str], clock: Clock
) -> None:
    ended(address_of(other))
    clock.now += 3_601
    callbacks.step()
    assert [(note.reason, note.attempts) for note, _ in store.dead()] == [("too_old", 0)]
    assert other.received == []


def test_one_that_became_too_old_keeps_the_attempts_that_were_made(
    callbacks: Callbacks, store: CallbackStore, other: Receiver, ended: Callable[..., str], clock: Clock
) -> None:
    ended(address_of(other))
    other.status = 503
    callbacks.attempt(only(store))
    clock.now += 3_601
    callbacks.step()
    assert [(note.reason, note.attempts) for note, _ in store.dead()] == [("http_503", len(other.ids))]


def test_a_note_that_was_taken_is_nobody_elses_until_its_time_is_over(
    store: CallbackStore, ended: Callable[..., str], clock: Clock
) -> None:
    ended("https://ris.example/")
    note = only(store, clock.now)
    assert store.take(note, clock.now, until=clock.now + 60)
    assert not store.take(note, clock.now + 59, until=clock.now + 120)
    assert store.due(clock.now + 59, limit=10) == []
    assert store.take(note, clock.now + 60, until=clock.now + 120)


def test_what_is_noted_twice_counts_once(
    store: CallbackStore, redis: Redis, ended: Callable[..., str], clock: Clock
) -> None:
    ended("https://ris.example/")
    note = only(store)
    assert store.plan_retry(note, due=clock.now, reason="http_503")
    assert not store.plan_retry(note, due=clock.now + 5, reason="http_503")
    assert only(store).attempts == 1
    assert store.delivered(note)
    assert not store.delivered(note)
    assert not store.give_up(note, clock.now, reason="http_404", attempts=1)
    assert {field: total(redis, field) for field in (stored.DELIVERED, stored.RETRIED, stored.DEAD)} == {
        stored.DELIVERED: 1,
        stored.RETRIED: 1,
        stored.DEAD: 0,
    }


def test_the_dead_are_bounded_in_number_and_age(
    store: CallbackStore, redis: Redis, ended: Callable[..., str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_DEAD", 2)
    for number in range(4):
        ended("https://ris.example/", f"job-{number}")
        clock.now += 1
        store.give_up(only(store), clock.now, reason="http_404", attempts=1)
    assert [note.job for note, _ in store.dead()] == ["job-2", "job-3"]
    assert not redis.exists(callback_key("job-0"))
    clock.now += stored.DEAD_SECONDS + 1
    ended("https://ris.example/", "job-4")
    store.give_up(only(store), clock.now, reason="http_404", attempts=1)
    assert redis.zrange(DEAD_CALLBACKS, 0, -1) == [b"job-4"]


def test_an_operator_begins_anew_or_drops(
    store: CallbackStore, redis: Redis, ended: Callable[..., str], clock: Clock
) -> None:
    for job in ("job-1", "job-2"):
        ended("https://ris.example/", job)
        store.give_up(
            next(note for note in store.due(clock.now, limit=9) if note.job == job), clock.now, reason="tls", attempts=1
        )
    clock.now += 100_000
    assert store.restart("job-1", clock.now) == 1
    note = only(store, clock.now)
    assert (note.job, note.attempts, note.began_at) == ("job-1", 0, clock.now)
    assert redis.ttl(callback_key("job-1")) == -1
    assert store.restart("unknown", clock.now) == 0
    assert store.drop(None) == 1
    assert not redis.exists(callback_key("job-2"))
    assert store.drop("job-1") == 1
    assert redis.zcard(CALLBACKS) == redis.zcard(DEAD_CALLBACKS) == 0


def test_nobody_waits_for_a_receiver_that_does_not_answer(
    callbacks: Callbacks, store: CallbackStore, other: Receiver, ended: Callable[..., str], clock: Clock, redis: Redis
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    callbacks._plan.note_answer(f"127.0.0.1:{port}", Answer(answered=False), clock.now)
    ended(f"https://127.0.0.1:{port}/", "job-silent")
    ended(address_of(other), "job-answered")
    callbacks.step()
    wait_for(lambda: other.ids == ["msg_job-answered"], what="the delivery to the other receiver")
    assert redis.zscore(CALLBACKS, "job-silent") == clock.now + 5.0
    wait_for(lambda: redis.zcard(CALLBACKS) == 1, what="the note of it being gone")
    assert [note.attempts for note, _ in store.waiting()] == [0]


def environment(redis: Redis, authority: Authority, other: Receiver, folder: Path) -> dict[str, str]:
    """The environment of a process that sends to the running receiver."""
    connection = redis.connection_pool.connection_kwargs
    return {
        "CERTRAD_REDIS_URL": f"unix://{connection['path']}",
        "CERTRAD_DATA_DIR": str(folder),
        "CERTRAD_CALLBACK_HOSTS": f"127.0.0.1:{other.port}",
        "CERTRAD_CALLBACK_SECRET": SECRET,
        "CERTRAD_CALLBACK_CA": str(authority.root),
    }


def test_a_sender_that_is_killed_between_sending_and_noting_sends_again_with_the_same_id(
    redis: Redis,
    authority: Authority,
    other: Receiver,
    ended: Callable[..., str],
    processes: Processes,
    tmp_path: Path,
    clock: Clock,
    store: CallbackStore,
) -> None:
    clock.now = time.time()
    job = ended(address_of(other))
    env = environment(redis, authority, other, tmp_path / "data")
    command = ["-m", "certrad.workers.cli.main", "callbacks", "run"]
    began = processes.start(command, name="first", env=env)
    other.on_request = lambda: kill_9(began.pid)  # the receiver has the message, and the sender no answer
    began.wait(timeout=120)
    assert other.ids == [f"msg_{job}"]
    other.on_request = None
    assert only(store).attempts == 0
    assert store.due(time.time(), limit=10) == []  # taken, so that nobody sends it at the same time
    redis.zadd(CALLBACKS, {job: time.time()})  # that time passes
    again = processes.start(command, name="second", env=env)
    wait_for(lambda: len(other.received) == 2, what="the second message")
    assert other.ids == [f"msg_{job}"] * 2
    wait_for(lambda: not redis.exists(callback_key(job)), what="the note being gone")
    for request in other.received:
        assert Webhook(SECRET).verify(request.body, request.headers)["data"]["id"] == job
    again.terminate()
    assert again.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"CERTRAD_CALLBACK_HOSTS": ""}, "CERTRAD_CALLBACK_HOSTS must name"),
        ({"CERTRAD_CALLBACK_SECRET": ""}, "must be set, for callbacks are signed"),
        ({"CERTRAD_CALLBACK_SECRET": "a-word"}, "CERTRAD_CALLBACK_SECRET must be `whsec_`"),
        ({"CERTRAD_CALLBACK_FORMER_SECRET": "whsec_c2hvcnQ="}, "CERTRAD_CALLBACK_FORMER_SECRET must be `whsec_`"),
        ({"CERTRAD_CALLBACK_CA": os.devnull}, "CERTRAD_CALLBACK_CA must be a PEM file"),
    ],
)
def test_a_sender_that_could_not_send_does_not_start(
    change: dict[str, str],
    reason: str,
    redis: Redis,
    store: CallbackStore,
    authority: Authority,
    other: Receiver,
    processes: Processes,
    tmp_path: Path,
) -> None:
    env = {**environment(redis, authority, other, tmp_path / "data"), **change}
    process = processes.start(["-m", "certrad.workers.cli.main", "callbacks", "run"], env=env)
    assert process.wait(timeout=120) == 2
    said = processes.errors().read_text()
    assert reason in said
    assert "c2hvcnQ" not in said
