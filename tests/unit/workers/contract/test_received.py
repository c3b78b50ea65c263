"""The spool of received instances: a request is there as a whole, private and on the disk, or not at all."""

import os
from pathlib import Path

import pytest

from certrad.models.errors import Rejected
from certrad.workers.contract.received import ReceivedSpool


@pytest.fixture
def spool(tmp_path: Path) -> ReceivedSpool:
    return ReceivedSpool(tmp_path / "pacs")


def fill(spool: ReceivedSpool, *contents: bytes, study: str | None = None) -> None:
    """Receives a request."""
    with spool.receive(study, min_free_bytes=0) as request:
        for content in contents:
            _, file = request.open()
            with file:
                request.write(file, content)


def test_requests_and_their_files_come_back_in_their_order(spool: ReceivedSpool) -> None:
    fill(spool, b"a", b"b")
    fill(spool, b"c", study="1.2")
    files = [[spool.read(file) for file in spool.files(request)] for request in spool.waiting()]
    assert files == [[b"a", b"b"], [b"c"]]
    assert [spool.study(request) for request in spool.waiting()] == [None, "1.2"]


def test_folders_and_files_are_private(spool: ReceivedSpool, tmp_path: Path) -> None:
    fill(spool, b"a", study="1.2")
    found = [tmp_path / "pacs", *(tmp_path / "pacs").rglob("*")]
    assert len(found) == 5
    assert {path.stat().st_mode & 0o77 for path in found} == {0}


def test_request_that_is_not_finished_is_seen_by_nobody_and_leaves_nothing(
    spool: ReceivedSpool, tmp_path: Path
) -> None:
    def break_off() -> None:
        with spool.receive(None, min_free_bytes=0) as request:
            _, file = request.open()
            with file:
                request.write(file, b"a")
            assert spool.waiting() == []
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    assert list((tmp_path / "pacs" / "received").iterdir()) == []


def test_full_disk_refuses_and_leaves_nothing(spool: ReceivedSpool, tmp_path: Path) -> None:
    def overfill() -> None:
        with spool.receive(None, min_free_bytes=1 << 60) as request:
            _, file = request.open()
            with file:
                request.write(file, b"a")

    with pytest.raises(Rejected, match="free space"):
        overfill()
    assert list((tmp_path / "pacs" / "received").iterdir()) == []


def test_last_file_that_is_deleted_takes_the_request_with_it(spool: ReceivedSpool) -> None:
    fill(spool, b"a", b"b", study="1.2")
    first, second = spool.files(spool.waiting()[0])
    spool.delete(first)
    assert [spool.files(request) for request in spool.waiting()] == [[second]]
    spool.delete(second)
    assert spool.waiting() == []


def test_what_a_killed_process_left_is_deleted_when_it_is_old(spool: ReceivedSpool, tmp_path: Path) -> None:
    fill(spool, b"a")
    old, new = (tmp_path / "pacs" / "received" / f".{name}.part" for name in ("old", "new"))
    for part in (old, new):
        part.mkdir()
    os.utime(old, (1000, 1000))
    spool.forget_unfinished(2000)
    assert (old.exists(), new.exists(), len(spool.waiting())) == (False, True, 1)
