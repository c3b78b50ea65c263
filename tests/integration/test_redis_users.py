"""The access list of Redis lets each user do its work, and bounds what somebody with the API's password may do."""

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, ResponseError

from certrad.workers.contract import names
from certrad.workers.contract.data_version import require_store
from certrad.workers.contract.records import Records
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.contract.submission import Submission
from tests.support.finished_jobs import REQUEST
from tests.support.guarded_redis import GuardedRedis, guarded_redis
from tests.support.processes import ROOT

pytestmark = pytest.mark.system
JOB = "0" * 32
FORBIDDEN = (NoPermissionError, ResponseError)  # the second from within a script
REFUSED = r"permission|can't access"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    """One server for this module."""
    with guarded_redis(tmp_path_factory.mktemp("guarded")) as server:
        yield server


@pytest.fixture
def api(guarded: GuardedRedis) -> Iterator[Redis]:
    """Whoever has the API's password."""
    with guarded.client("api") as client:
        yield client


@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "GET", "dir"),
        ("CONFIG", "SET", "dir", "/"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("SAVE",),
        ("SHUTDOWN",),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("MONITOR",),
        ("ACL", "LIST"),
        ("ACL", "SETUSER", "api", "~*"),
        ("CLIENT", "LIST"),
        ("MODULE", "LIST"),
        ("FUNCTION", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("SWAPDB", "0", "1"),
        ("PSUBSCRIBE", "*"),
        ("RESTORE", "certrad:x", "0", "y"),
    ],
    ids=" ".join,
)
def test_the_apis_user_has_no_command_that_administers(api: Redis, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        api.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("key", names.keys_of_running(JOB))
def test_the_apis_user_can_delete_what_engines_work_on_and_neither_read_nor_write_it(
    api: Redis, guarded: GuardedRedis, key: str
) -> None:
    with guarded.client("engine") as engine:
        engine.set(key, "pixels")
        for command in (
            ["GET", key],
            ["EVAL", "return redis.call('GET', ARGV[1])", "0", key],
            ["DUMP", key],
            ["SET", key, "forged"],
        ):
            with pytest.raises(FORBIDDEN, match=REFUSED):
                api.execute_command(*command)  # type: ignore[no-untyped-call]
        assert api.delete(key) == 1
        assert engine.get(key) is None


@pytest.mark.parametrize(
    "command",
    [
        ("HGETALL", names.callback_key(JOB)),
        ("EXPIRE", names.callback_key(JOB), "1"),
        ("RENAME", names.callback_key(JOB), names.callback_key("other")),
        ("ZRANGE", names.CALLBACKS, "0", "-1"),
        ("DEL", names.CALLBACKS),
        ("ZRANGE", names.DEAD_CALLBACKS, "0", "-1"),
        ("ZADD", names.DEAD_CALLBACKS, "1", JOB),
        ("EVAL", f"return redis.call('HGET', '{names.callback_key(JOB)}', 'address')", "0"),
    ],
    ids=" ".join,
)
def test_the_apis_user_neither_reads_callbacks_nor_empties_their_lists(api: Redis, command: tuple[str, ...]) -> None:
    with pytest.raises(FORBIDDEN, match=REFUSED):
        api.execute_command(*command)  # type: ignore[no-untyped-call]


def test_the_apis_user_notes_the_callback_of_a_job_that_it_cancels_and_erases_it(
    api: Redis, guarded: GuardedRedis
) -> None:
    records = Records(api, ttl=600)
    records.create(JOB, REQUEST, max_active=9, digest="0" * 64, submission=Submission(callback="https://ris.test/hook"))
    assert records.cancel(JOB)
    with guarded.client("callbacks") as sender:
        assert sender.hget(names.callback_key(JOB), "address") == b"https://ris.test/hook"
        assert api.zcard(names.CALLBACKS) == 1
        records.erase(JOB)
        assert not sender.exists(names.callback_key(JOB), names.CALLBACKS)


@pytest.mark.parametrize(
    "key", [names.SIGNING_KEYS, names.REVOKED_KEYS, names.EPOCHS, names.REVEALED, names.CALIBRATIONS]
)
def test_the_apis_user_reads_public_keys_and_calibrations_and_cannot_publish_one(
    api: Redis, guarded: GuardedRedis, key: str
) -> None:
    with guarded.client("keys") as keys:
        keys.set(key, "published")
        assert api.get(key) == b"published"
        keys.delete(key)
    for write in (["SET", key, "forged"], ["EVAL", "return redis.call('SET', ARGV[1], 'forged')", "0", key]):
        with pytest.raises(FORBIDDEN, match=REFUSED):
            api.execute_command(*write)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("key", ["other", "certrad", "session:1"])
def test_no_user_reaches_keys_of_others(guarded: GuardedRedis, key: str) -> None:
    for user in ("api", "intake", "archive", "engine", "callbacks", "keys", "metrics"):
        with guarded.client(user) as client, pytest.raises(NoPermissionError):
            client.get(key)


def test_only_intake_publishes_signing_keys_and_only_engines_publish_epochs(guarded: GuardedRedis) -> None:
    published: dict[str, list[str]] = {names.SIGNING_KEYS: [], names.EPOCHS: []}
    for key, publishers in published.items():
        for user in ("api", "intake", "archive", "engine", "callbacks", "keys", "metrics"):
            with guarded.client(user) as client:
                try:
                    client.zadd(key, {"key": 1.0})
                except NoPermissionError:
                    continue
                publishers.append(user)
    assert published == {names.SIGNING_KEYS: ["intake", "keys"], names.EPOCHS: ["engine", "keys"]}


def test_the_user_of_keys_sees_the_version_of_the_store_and_cannot_change_it(guarded: GuardedRedis) -> None:
    with guarded.client("keys") as client:
        require_store(client)
        with pytest.raises(NoPermissionError):
            client.hset(names.VERSION, "version", "0")


def test_the_line_that_begins_drift_anew_is_allowed_to_the_apis_user(api: Redis) -> None:
    page = ROOT.joinpath("docs", "monitoring.md").read_text("utf-8")
    (command,) = re.findall(r"valkey-cli .*--user api --askpass (DEL \S+)", page)
    assert command == f"DEL {names.DRIFT_OF_ALL}"
    api.hset(names.DRIFT_OF_ALL, "series", "50")
    assert api.execute_command(*command.split()) == 1  # type: ignore[no-untyped-call]


def test_metrics_sees_the_state_of_the_server_and_no_key(guarded: GuardedRedis) -> None:
    with guarded.client("metrics") as client:
        assert "used_memory" in client.info("memory")
        with pytest.raises(NoPermissionError):
            client.zcard(names.ACTIVE)


def test_nobody_gets_in_without_a_user(guarded: GuardedRedis) -> None:
    with (
        guarded.client("probe", redis_user=None, redis_password=None) as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_refused(guarded: GuardedRedis, password: str) -> None:
    with guarded.client("api", redis_password=password) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_a_server_of_another_authority_gets_no_password(guarded: GuardedRedis) -> None:
    with guarded.client("api", redis_ca=None) as client, pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY"):
        client.ping()


def test_a_server_under_another_name_gets_no_password(guarded: GuardedRedis) -> None:
    with (
        guarded.client("api", redis_url=f"rediss://127.0.0.2:{guarded.port}/0") as client,
        pytest.raises(ConnectionError, match="certificate is not valid for"),
    ):
        client.ping()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"redis_password": "a"}, "redis_password needs redis_url"),
        ({"redis_user": "a"}, "redis_user needs redis_url"),
        ({"redis_url": "redis://:a@host", "redis_password": "b"}, "keep one of them"),
        ({"redis_url": "redis://host", "redis_ca": "ca.pem"}, "rediss://"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SharedSettings(**given)


def test_valkey_takes_the_access_list_too(redis: Redis) -> None:
    lines = ROOT.joinpath("docker", "redis", "users.acl").read_text("utf-8").splitlines()
    for line in lines:
        _, user, *rules = line.split(" ")
        redis.execute_command("ACL", "SETUSER", f"tried-{user}", *rules)  # type: ignore[no-untyped-call]
    known = cast("list[str]", redis.acl_users())
    assert {f"tried-{line.split(' ')[1]}" for line in lines} < set(known)
    redis.acl_deluser(*(name for name in known if name.startswith("tried-")))
