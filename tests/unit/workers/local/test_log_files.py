"""The logs of the stack stay small, whoever writes to them, and a log that cannot be written stops nobody."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from certrad.workers.local.log_files import LogFiles, open_log

MOST = 1_000


def test_a_log_that_is_too_large_is_moved_aside_while_somebody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    with path.open("ab", buffering=0) as log:
        log.write(b"a" * (MOST + 1))
        LogFiles(tmp_path, most_bytes=MOST).keep_small(0.0)
        log.write(b"next line")
    assert path.read_bytes() == b"next line"
    assert (tmp_path / "api.log.1").read_bytes() == b"a" * (MOST + 1)


def test_two_older_files_are_kept_and_no_more(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, most_bytes=MOST)
    for number in range(5):
        (tmp_path / "api.log").write_bytes(b"%d" % number * (MOST + 1))
        logs.keep_small(10.0 * number)
    assert {path.name: path.read_bytes()[:1] for path in tmp_path.iterdir()} == {
        "api.log": b"",
        "api.log.1": b"4",
        "api.log.2": b"3",
    }


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.write_bytes(b"a" * MOST)
    LogFiles(tmp_path, most_bytes=MOST).keep_small(0.0)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("api.log", MOST)]


def test_a_log_elsewhere_is_kept_small_too(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(b"a" * (MOST + 1))
    LogFiles(tmp_path / "logs", [path], most_bytes=MOST).keep_small(0.0)
    assert path.stat().st_size == 0


def test_a_full_disk_costs_lines_and_frees_their_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_source: Path, target: Path) -> NoReturn:
        target.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", no_space)
    path = tmp_path / "api.log"
    path.write_bytes(b"a" * (MOST + 1))
    LogFiles(tmp_path, most_bytes=MOST).keep_small(0.0)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("api.log", 0)]


def test_a_log_that_cannot_be_opened_is_the_null_device(tmp_path: Path) -> None:
    with open_log(tmp_path / "absent" / "api.log") as log:
        assert os.path.samestat(os.fstat(log.fileno()), os.stat(os.devnull))
