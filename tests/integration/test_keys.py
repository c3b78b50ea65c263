"""The operator's commands change keys on disk, and the service then publishes what they changed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from certrad.models.certificates.signature import public_key
from certrad.models.types.public_key import jwk, pem
from certrad.workers.cli import main as cli
from certrad.workers.contract.keyring import Keyring, Revocation
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.settings import WorkerSettings

Command = Callable[..., dict[str, Any]]


@pytest.fixture
def keys(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `certrad keys` on the data directory and gives what it prints."""
    monkeypatch.setenv("CERTRAD_REDIS_URL", settings.redis_url)

    def run(*arguments: str) -> dict[str, Any]:
        assert cli.main(["keys", "--data-dir", str(settings.data_dir), *arguments]) == 0
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    return run


def test_a_new_data_directory_has_no_keys_and_looking_makes_none(keys: Command, settings: WorkerSettings) -> None:
    assert keys("list") == {"keys": [], "epochs": []}
    assert not settings.data_dir.exists()


@pytest.mark.parametrize("command", ["rotate-signing", "rotate-epoch"])
def test_what_was_never_used_is_not_rotated(
    command: str, settings: WorkerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["keys", "--data-dir", str(settings.data_dir), command]) == 1
    assert "there is no" in capsys.readouterr().err
    assert not settings.data_dir.exists()


def test_a_rotated_signing_key_is_published_beside_the_former_one(
    keys: Command, settings: WorkerSettings, redis: Redis
) -> None:
    former = public_key(SigningKeys(settings.signing_dir).current())
    new = keys("rotate-signing")["public_key"]
    assert [key.public_key for key in Keyring(redis).signing_keys()] == [former, new]
    assert [(key["public_key"], key["status"]) for key in keys("list")["keys"]] == [
        (former, "retired"),
        (new, "current"),
    ]


def test_a_revoked_key_is_known_no_more_and_its_revocation_outlives_redis(
    keys: Command, settings: WorkerSettings, redis: Redis
) -> None:
    former = public_key(SigningKeys(settings.signing_dir).current())
    new = keys("rotate-signing")["public_key"]
    revoked = keys("revoke-signing", former, "--reason", "the host was broken into")
    assert revoked["sha256"] == hashlib.sha256(bytes.fromhex(former)).hexdigest()
    assert [(key["public_key"], key["status"]) for key in keys("list")["keys"]] == [
        (former, "revoked"),
        (new, "current"),
    ]
    for _ in range(2):
        assert [key.public_key for key in Keyring(redis).signing_keys()] == [new]
        assert [asdict(revocation) for revocation in Keyring(redis).revocations()] == [revoked]
        redis.flushall()
        SigningKeys(settings.signing_dir).publish(Keyring(redis))


def test_a_revoked_key_is_not_known_for_a_moment_while_redis_learns_of_it(
    settings: WorkerSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing, keyring = SigningKeys(settings.signing_dir), Keyring(redis)
    former = public_key(signing.current())
    signing.rotate()
    signing.revoke(former, "it leaked")
    before = keyring.revocations()

    def read_just_before() -> list[Revocation]:
        signing.publish(Keyring(redis))
        return before

    monkeypatch.setattr(keyring, "revocations", read_just_before)
    assert former not in [key.public_key for key in keyring.signing_keys()]


def test_a_rotated_epoch_is_committed_to_and_the_former_revealed(
    keys: Command, settings: WorkerSettings, redis: Redis
) -> None:
    former = EpochSecrets(settings.secrets_dir).current()
    new = keys("rotate-epoch")["sha256"]
    assert [epoch.sha256 for epoch in Keyring(redis).epochs()] == [former.sha256, new]
    assert keys("reveal-epoch", former.sha256)["secret"] == former.secret.hex()
    old, current = Keyring(redis).epochs()
    assert old.secret is not None
    assert hashlib.sha256(bytes.fromhex(old.secret)).hexdigest() == old.sha256 == former.sha256
    assert current.secret is None
    assert [(epoch["sha256"], epoch["status"]) for epoch in keys("list")["epochs"]] == [
        (former.sha256, "revealed"),
        (new, "current"),
    ]


def test_the_secret_in_use_is_not_revealed(
    settings: WorkerSettings, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    in_use = EpochSecrets(settings.secrets_dir).current()
    assert cli.main(["keys", "--data-dir", str(settings.data_dir), "reveal-epoch", in_use.sha256]) == 1
    assert in_use.secret.hex() not in capsys.readouterr().err
    assert Keyring(redis).epochs() == []


def test_no_secret_is_printed_unless_it_is_revealed(keys: Command, settings: WorkerSettings) -> None:
    signing, epochs = SigningKeys(settings.signing_dir), EpochSecrets(settings.secrets_dir)
    secrets = [signing.current().private_bytes_raw().hex(), epochs.current().secret.hex()]
    printed = str([keys("rotate-signing"), keys("rotate-epoch"), keys("list")])
    secrets += [signing.current().private_bytes_raw().hex(), epochs.current().secret.hex()]
    assert not any(secret in printed for secret in secrets)


def test_without_a_service_the_keys_change_all_the_same(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://127.0.0.1:1/0")
    epochs = EpochSecrets(settings.secrets_dir)
    former = epochs.current()
    assert cli.main(["keys", "--data-dir", str(settings.data_dir), "rotate-epoch"]) == 0
    assert epochs.current() != former
    assert "no service runs here" in capsys.readouterr().err


def test_commitments_that_redis_lost_are_made_again_the_one_in_use_last(settings: WorkerSettings, redis: Redis) -> None:
    epochs = EpochSecrets(settings.secrets_dir)
    made = [epochs.current(), *(epochs.rotate() for _ in range(4))]
    epochs.reveal(made[0].sha256)
    ticks = iter(range(100))
    epochs.publish(Keyring(redis), clock=lambda: next(ticks))
    published = Keyring(redis).epochs()
    assert {epoch.sha256 for epoch in published} == {epoch.sha256 for epoch in made}
    assert published[-1].sha256 == epochs.current().sha256
    assert {epoch.sha256: epoch.secret for epoch in published if epoch.secret} == {made[0].sha256: made[0].secret.hex()}


def test_exported_keys_are_those_that_are_not_revoked(
    keys: Command, settings: WorkerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    former = public_key(SigningKeys(settings.signing_dir).current())
    new = keys("rotate-signing")["public_key"]
    assert [each["x"] for each in keys("export", "--format", "jwk")["keys"]] == [jwk(former)["x"], jwk(new)["x"]]
    keys("revoke-signing", former, "--reason", "it leaked")
    assert cli.main(["keys", "--data-dir", str(settings.data_dir), "export", "--format", "pem"]) == 0
    assert capsys.readouterr().out == pem(new)


def test_time_of_the_leak_is_published_and_first_revocation_keeps_it(
    keys: Command, settings: WorkerSettings, redis: Redis
) -> None:
    former = public_key(SigningKeys(settings.signing_dir).current())
    keys("rotate-signing")
    reason = ("--reason", "it leaked")
    keys("revoke-signing", former, *reason, "--leaked-at", "2026-05-01T12:00+02:00")
    again = keys("revoke-signing", former, *reason, "--leaked-at", "2026-06-01T12:00Z")
    assert again["leaked_at"] == datetime(2026, 5, 1, 10, tzinfo=UTC).timestamp()
    assert [revocation.leaked_at for revocation in Keyring(redis).revocations()] == [again["leaked_at"]]


@pytest.mark.parametrize("time", ["2999-01-01T00:00Z", "2026-05-01T12:00", "yesterday"])
def test_time_of_a_leak_is_in_the_past_and_has_a_zone(
    time: str, keys: Command, settings: WorkerSettings, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    former = public_key(SigningKeys(settings.signing_dir).current())
    keys("rotate-signing")
    command = ["keys", "--data-dir", str(settings.data_dir), "revoke-signing", former, "--reason", "it leaked"]
    assert cli.main([*command, "--leaked-at", time]) != 0
    assert capsys.readouterr().err
    assert Keyring(redis).revocations() == []


def test_options_of_keys_go_with_their_action_only(
    settings: WorkerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["export"], ["list", "--format", "pem"], ["list", "--leaked-at", "2026-05-01T12:00Z"]):
        assert cli.main(["keys", "--data-dir", str(settings.data_dir), *arguments]) == 2
        assert "--format" in capsys.readouterr().err or "--leaked-at" in arguments
