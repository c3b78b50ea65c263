"""One epoch secret on disk is in use, former ones are found by their digest, and old ones can be revealed."""

import hashlib
from pathlib import Path

import pytest

from certrad.models.files import replace_file
from certrad.workers.keys import epochs as epochs_module
from certrad.workers.keys.epochs import Epoch, EpochSecrets


@pytest.fixture
def epochs(tmp_path: Path) -> EpochSecrets:
    return EpochSecrets(tmp_path / "secrets")


def test_the_secret_is_made_once_and_is_its_owners_only(epochs: EpochSecrets) -> None:
    first = epochs.current()
    assert epochs.current() == first
    assert first.sha256 == hashlib.sha256(first.secret).hexdigest()
    assert epochs.directory.stat().st_mode & 0o777 == 0o700
    assert (epochs.directory / "epoch").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_the_operator_gave_is_used(epochs: EpochSecrets) -> None:
    epochs.directory.mkdir()
    (epochs.directory / "epoch").write_bytes(b"s" * 32)
    assert epochs.current().secret == b"s" * 32
    (epochs.directory / "epoch").write_bytes(b"s" * 31)
    with pytest.raises(ValueError, match="at least 32 bytes, got 31"):
        epochs.current()


def test_every_former_secret_is_found_by_its_digest(epochs: EpochSecrets) -> None:
    made = [epochs.current(), epochs.rotate(), epochs.rotate()]
    assert len({epoch.sha256 for epoch in made}) == 3
    assert [epochs.named(epoch.sha256) for epoch in made] == made
    assert epochs.current() == made[-1]
    assert {epoch.sha256 for epoch in epochs.retired()} == {epoch.sha256 for epoch in made[:-1]}
    assert all(path.stat().st_mode & 0o077 == 0 for path in epochs.directory.rglob("*"))


def test_no_secret_is_lost_by_two_rotations_at_once(epochs: EpochSecrets, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs.current()
    inner: list[Epoch] = []

    def overtaken(path: Path, content: bytes) -> None:
        monkeypatch.setattr(epochs_module, "replace_file", replace_file)
        inner.append(epochs.rotate())
        replace_file(path, content)

    monkeypatch.setattr(epochs_module, "replace_file", overtaken)
    outer = epochs.rotate()
    assert epochs.current() == outer
    assert epochs.named(inner[0].sha256) == inner[0]


@pytest.mark.parametrize("name", ["0" * 64, "../epoch", "", "epoch"])
def test_a_digest_that_names_no_secret_here_finds_none(epochs: EpochSecrets, name: str) -> None:
    epochs.current()
    assert epochs.named(name) is None


def test_a_file_that_is_not_the_secret_of_its_name_is_not_used(epochs: EpochSecrets) -> None:
    former = epochs.current()
    epochs.rotate()
    (epochs.directory / "kept" / former.sha256).write_bytes(b"x" * 32)
    assert epochs.named(former.sha256) is None


def test_a_retired_secret_can_be_revealed_and_still_ends_its_jobs(epochs: EpochSecrets) -> None:
    former = epochs.current()
    epochs.rotate()
    assert epochs.reveal(former.sha256) == epochs.reveal(former.sha256) == former
    assert (epochs.revealed(), epochs.retired()) == ([former], [])
    assert epochs.named(former.sha256) == former


def test_the_secret_in_use_is_never_revealed(epochs: EpochSecrets) -> None:
    in_use = epochs.current()
    with pytest.raises(ValueError, match="retired"):
        epochs.reveal(in_use.sha256)
    epochs.rotate()
    with pytest.raises(ValueError, match="retired"):
        epochs.reveal(epochs.current().sha256)
    assert epochs.revealed() == []
