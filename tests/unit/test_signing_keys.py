"""The signing keys on disk: one in use, made once, and every public key kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.signing import is_signed, public_key, signed
from tests.support.processes import ROOT
from workers.signing_keys import SigningKeys


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "data" / "signing", clock=lambda: 1.7e9)


def test_the_key_is_made_once_and_stays(keys: SigningKeys) -> None:
    assert public_key(keys.current()) == public_key(keys.current()) == keys.public_keys()[0].public_key


def test_only_the_owner_may_read_what_is_kept(keys: SigningKeys) -> None:
    keys.current()
    keys.rotate()
    assert keys.directory.stat().st_mode & 0o777 == 0o700
    for path in keys.directory.rglob("*.*"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_processes_that_start_at_once_agree_on_one_key(keys: SigningKeys) -> None:
    code = (
        "import sys; from pathlib import Path; from models.signing import public_key\n"
        "from workers.signing_keys import SigningKeys\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(public_key(SigningKeys(Path(sys.argv[1])).current()))"
    )
    command = [sys.executable, "-c", code, str(keys.directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(4)]
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
    document = signed({"schema": "x"}, former)
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
    assert all(former not in content and pem != content for content in kept)


def test_a_file_that_holds_no_key_is_refused_and_left_alone(keys: SigningKeys) -> None:
    keys.directory.mkdir(parents=True)
    (keys.directory / "private.pem").write_bytes(b"lost")
    with pytest.raises(ValueError, match="PEM"):
        keys.current()
    assert (keys.directory / "private.pem").read_bytes() == b"lost"
