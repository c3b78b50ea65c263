"""As its own user of Redis, the sender of callbacks delivers, retries and gives up, and reads no job."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.callbacks import store as stored
from certrad.workers.callbacks.store import CallbackStore
from certrad.workers.contract import names
from certrad.workers.contract.records import Records
from certrad.workers.contract.submission import Submission
from tests.support.guarded_redis import GuardedRedis, guarded_redis
from tests.support.processes import Processes, wait_for
from tests.support.receiver import Authority, Receiver, make_authority, receiver

pytestmark = pytest.mark.system
REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)
JOB = "0" * 32


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    """Yields one server for this module."""
    with guarded_redis(tmp_path_factory.mktemp("guarded")) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority") / "files", name="127.0.0.1")


@pytest.fixture
def other(authority: Authority) -> Iterator[Receiver]:
    with receiver(authority) as running:
        yield running


@pytest.fixture
def intake(guarded: GuardedRedis) -> Iterator[Redis]:
    with guarded.client("intake") as client:
        yield client


@pytest.fixture
def sender(guarded: GuardedRedis) -> Iterator[Redis]:
    """Yields a connection with the sender's password, as a thief of it would have."""
    with guarded.client("callbacks") as client:
        yield client


def environment(guarded: GuardedRedis, authority: Authority, other: Receiver, folder: Path) -> dict[str, str]:
    """Returns what the sender's container has, with the secret that the script for operators makes."""
    secret = guarded.secrets / "callback.secret"
    secret.chmod(0o400)  # outside /run/secrets, nobody else may read it
    return {
        **guarded.environment("callbacks"),
        "CERTRAD_DATA_DIR": str(folder),
        "CERTRAD_CALLBACK_HOSTS": f"127.0.0.1:{other.port}",
        "CERTRAD_CALLBACK_SECRET_FILE": str(secret),
        "CERTRAD_CALLBACK_CA": str(authority.root),
        "CERTRAD_CALLBACK_ATTEMPTS": "2",
        "CERTRAD_CALLBACK_RETRY_SECONDS": "0.1",
    }


def end_job(intake: Redis, job: str, other: Receiver) -> None:
    """Ends a job as intake does, whose client wants to hear of it."""
    records = Records(intake, ttl=600)
    submission = Submission(callback=f"https://127.0.0.1:{other.port}/ended")
    records.create(job, REQUEST, max_active=10, digest="0" * 64, submission=submission)
    records.fail(job, "worker_lost", "gone")


def test_the_sender_delivers_and_gives_up_with_the_rights_of_its_user(
    guarded: GuardedRedis,
    intake: Redis,
    sender: Redis,
    authority: Authority,
    other: Receiver,
    processes: Processes,
    tmp_path: Path,
) -> None:
    env = environment(guarded, authority, other, tmp_path / "data")
    running = processes.start(["-m", "certrad.workers.cli.main", "callbacks", "run"], name="callbacks", env=env)
    end_job(intake, "1" * 32, other)
    wait_for(lambda: intake.hget(names.TOTALS, stored.DELIVERED) == b"1", timeout=60, what="the delivery")
    assert other.ids == [f"msg_{'1' * 32}"]
    other.status = 503
    end_job(intake, "2" * 32, other)
    wait_for(lambda: intake.hget(names.TOTALS, stored.DEAD) == b"1", timeout=60, what="the end of the attempts")
    assert intake.hget(names.TOTALS, stored.RETRIED) == b"1"
    running.terminate()
    assert running.wait(timeout=60) == 0
    trail = "".join(path.read_text() for path in tmp_path.joinpath("data", "audit-trail").glob("*.jsonl"))
    assert "callback_sent" in trail
    assert "callback_given_up" in trail
    store = CallbackStore(sender)
    assert store.restart("2" * 32, 1_000_000.0) == 1
    assert store.drop("2" * 32) == 1


@pytest.mark.parametrize(
    "key",
    [names.record_key(JOB), names.ACTIVE, names.JOBS, names.EPOCHS, names.SIGNING_KEYS, *names.keys_of_running(JOB)],
)
def test_the_senders_user_reaches_no_job_and_no_key(sender: Redis, key: str) -> None:
    for command in (["EXISTS", key], ["GET", key], ["DEL", key]):
        with pytest.raises(NoPermissionError):
            sender.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "command", [("KEYS", "*"), ("SCAN", "0"), ("FLUSHALL",), ("ACL", "LIST"), ("CONFIG", "GET", "*")]
)
def test_the_senders_user_has_no_command_that_administers(sender: Redis, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        sender.execute_command(*command)  # type: ignore[no-untyped-call]
