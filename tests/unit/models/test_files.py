"""Files are there whole or not at all."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from certrad.models.files import create_file, replace_file, replacement


def test_of_several_writers_the_first_one_s_file_stands(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        create_file(tmp_path / "keys" / "key", content)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "keys").iterdir()] == [("key", b"first")]


def power_cut(*_: object) -> None:
    raise OSError("power cut")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "key", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", power_cut)
        with pytest.raises(OSError, match="power cut"):
            replace_file(tmp_path / "key", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("key", b"old")]
    replace_file(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"new"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")

    def write() -> None:
        with replacement(tmp_path / "file") as file:
            file.write(b"half")
            power_cut()

    with pytest.raises(OSError, match="power cut"):
        write()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize("write", [replace_file, create_file])
def test_bytes_and_name_are_on_the_disk(
    write: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    write(tmp_path / "file", b"content")
    assert synced == [False, True]


def test_a_file_that_need_not_outlive_a_power_cut_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", power_cut)
    with replacement(tmp_path / "file", durable=False) as file:
        file.write(b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_that_is_not_private_has_the_rights_the_umask_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    replace_file(tmp_path / "folder" / "file", b"content", private=False)
    assert (tmp_path / "folder" / "file").stat().st_mode == plain.stat().st_mode
    replace_file(tmp_path / "own" / "file", b"content")
    assert (tmp_path / "own").stat().st_mode & 0o077 == 0
