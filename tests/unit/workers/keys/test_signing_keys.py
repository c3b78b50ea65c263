"""One signing key on disk is in use and made once, and every public key is kept."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from certrad.models.certificates.signature import is_signed, public_key, sign
from certrad.workers.contract.keyring import Revocation
from certrad.workers.keys.signing import SigningKeys
from tests.support.processes import ROOT


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "data" / "signing", clock=lambda: 1.7e9)


def test_the_key_is_made_once_and_stays(keys: SigningKeys) -> None:
    assert public_key(keys.current()) == public_key(keys.current()) == keys.public_keys()[0].public_key


def test_only_the_owner_may_read_what_is_kept(keys: SigningKeys) -> None:
    former = public_key(keys.current())
    keys.rotate()
    keys.revoke(former, "it leaked")
    assert keys.directory.stat().st_mode & 0o777 == 0o700
    for path in keys.directory.rglob("*.*"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_processes_that_start_at_once_agree_on_one_key(keys: SigningKeys) -> None:
    code = (
        "import sys; from pathlib import Path; from certrad.models.certificates.signature import public_key\n"
        "from certrad.workers.keys.signing import SigningKeys\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(public_key(SigningKeys(Path(sys.argv[1])).current()))"
    )
    command = [sys.executable, "-c", code, str(keys.directory)]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) for _ in range(4)]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    found = {process.communicate("\n")[0].strip() for process in running}
    assert found == {keys.public_keys()[0].public_key}
    assert sorted(path.name for path in keys.directory.iterdir()) == ["private.pem", "public"]


def test_of_two_keys_made_at_once_the_first_stands(keys: SigningKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    link, other = os.link, SigningKeys(keys.directory)
    first: list[str] = []

    def overtaken(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        first.append(public_key(other.current()))
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert public_key(keys.current()) == first[0]


def test_rotation_signs_with_another_key_and_keeps_the_public_ones(keys: SigningKeys) -> None:
    former = keys.current()
    document = sign({"schema": "x"}, former)
    new = keys.rotate()
    assert public_key(keys.current()) == public_key(new) != public_key(former)
    assert [key.public_key for key in keys.public_keys()] == [public_key(former), public_key(new)]
    assert is_signed(document)
    assert document["signature"]["public_key"] in {key.public_key for key in keys.public_keys()}


def test_keys_of_one_moment_are_still_in_order(keys: SigningKeys) -> None:
    made = [public_key(keys.current()), *(public_key(keys.rotate()) for _ in range(5))]
    assert [key.public_key for key in keys.public_keys()] == made
    assert keys.public_keys()[0].first_used == 1.7e9


def test_a_retired_private_key_is_kept_nowhere(keys: SigningKeys) -> None:
    former = keys.current().private_bytes_raw()
    pem = (keys.directory / "private.pem").read_bytes()
    keys.rotate()
    kept = [path.read_bytes() for path in keys.directory.rglob("*") if path.is_file()]
    assert kept
    assert all(former not in content and pem != content for content in kept)


@pytest.mark.parametrize("name", ["public_key", "sha256", "id"])
def test_a_revoked_key_is_named_by_its_digest_with_time_and_reason(keys: SigningKeys, name: str) -> None:
    former = public_key(keys.current())
    keys.rotate()
    keys.revoke(getattr(keys.public_keys()[0], name), "it leaked")
    digest = hashlib.sha256(bytes.fromhex(former)).hexdigest()
    assert keys.revocations() == [Revocation(sha256=digest, revoked_at=1.7e9, reason="it leaked")]


def test_of_two_revocations_of_a_key_the_first_stands(keys: SigningKeys) -> None:
    former = public_key(keys.current())
    keys.rotate()
    first = keys.revoke(former, "it leaked")
    later = SigningKeys(keys.directory, clock=lambda: 1.8e9)
    assert later.revoke(former, "it did not") == first
    assert later.revocations() == [first]


def test_the_key_in_use_is_not_revoked(keys: SigningKeys) -> None:
    with pytest.raises(ValueError, match="rotate-signing"):
        keys.revoke(public_key(keys.current()), "it leaked")
    assert keys.revocations() == []


@pytest.mark.parametrize("name", ["", "ab" * 32])
def test_what_was_no_key_of_ours_is_not_revoked(keys: SigningKeys, name: str) -> None:
    keys.current()
    keys.rotate()
    with pytest.raises(ValueError, match="the key must be one of"):
        keys.revoke(name, "it leaked")


@pytest.mark.parametrize("reason", ["", " ", "a" * 201, "two\nlines", "{former} leaked", "as {first} did"])
def test_a_revocation_says_why_and_spells_no_key(keys: SigningKeys, reason: str) -> None:
    first, former = public_key(keys.current()), public_key(keys.rotate())
    keys.rotate()
    with pytest.raises(ValueError, match="the reason"):
        keys.revoke(former, reason.format(first=first, former=former))
    assert keys.revocations() == []


def test_a_revoked_key_that_came_back_from_a_backup_signs_nothing(keys: SigningKeys) -> None:
    former, private = public_key(keys.current()), keys.directory / "private.pem"
    backup = private.read_bytes()
    keys.rotate()
    keys.revoke(former, "it leaked")
    private.write_bytes(backup)
    used = public_key(keys.current())
    assert used == public_key(keys.current()) == keys.public_keys()[-1].public_key != former
    assert len(keys.public_keys()) == 3


def test_a_file_that_holds_no_key_is_refused_and_left_alone(keys: SigningKeys) -> None:
    keys.directory.mkdir(parents=True)
    (keys.directory / "private.pem").write_bytes(b"lost")
    with pytest.raises(ValueError, match="PEM"):
        keys.current()
    assert (keys.directory / "private.pem").read_bytes() == b"lost"
