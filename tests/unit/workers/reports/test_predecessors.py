"""The index of reports is durable, takes several workers at once, and holds no name of an image."""

import os
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import pytest

from certrad.workers.reports.predecessors import IssuedReport, ReportIndex, ReportUids

NOON: Final = datetime(2026, 5, 4, 12, tzinfo=timezone(timedelta(hours=2)))
INSTANCE: Final = "1.2.840.113619.2"


def issued(number: int, *, has_report: bool = True) -> IssuedReport:
    uids = ReportUids(sop_class="1.2.840.10008.5.1.4.1.1.88.34", instance=f"2.25.{number}", series="2.25.99")
    return IssuedReport(
        certificate=f"{number:064x}",
        issued_at=NOON + timedelta(minutes=number),
        uids=uids if has_report else None,
    )


def add(index: ReportIndex, *reports: IssuedReport, subject: tuple[str, ...] = (INSTANCE, "1")) -> None:
    for report in reports:
        with index.history(*subject) as history:
            history.add(report)


def files(index: ReportIndex) -> list[Path]:
    return sorted(path for path in index.directory.rglob("*") if path.is_file() and path.name != "key")


def test_a_report_follows_the_one_before_its_certificate(tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    add(index, issued(1), issued(2))
    with index.history(INSTANCE, "1") as history:
        assert [history.before(issued(number).certificate) for number in (1, 2, 3)] == [
            None,
            issued(1).uids,
            issued(2).uids,
        ]


def test_the_time_is_that_of_the_first_report(tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    later = IssuedReport(certificate=issued(1).certificate, issued_at=NOON.astimezone(UTC), uids=issued(1).uids)
    add(index, issued(1), later)
    with index.history(INSTANCE, "1") as history:
        assert history.of(issued(1).certificate) == issued(1)


def test_only_a_structured_report_precedes_another(tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    add(index, issued(1), issued(2, has_report=False))
    with index.history(INSTANCE, "1") as history:
        assert history.before(issued(3).certificate) == issued(1).uids


def test_a_report_that_fails_first_keeps_its_place_and_time(tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    late = IssuedReport(certificate=issued(1).certificate, issued_at=NOON.astimezone(UTC), uids=issued(1).uids)
    add(index, issued(1, has_report=False), issued(2), late)
    with index.history(INSTANCE, "1") as history:
        assert history.of(issued(1).certificate) == issued(1)
        assert history.before(issued(2).certificate) == issued(1).uids


@pytest.mark.parametrize("subject", [(INSTANCE, "2"), ("1.2.840.113619.21", "1"), (INSTANCE + "\0001",)])
def test_images_have_histories_of_their_own(subject: tuple[str, ...], tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    add(index, issued(1), subject=("1.2", "1"))
    with index.history(*subject) as history:
        assert history.before(issued(2).certificate) is None


def test_a_torn_line_counts_for_nothing_and_is_written_over(tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    add(index, issued(1), issued(2))
    (file,) = files(index)
    whole = file.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        file.write_bytes(whole[:length])
        with index.history(INSTANCE, "1") as history:
            assert history.of(issued(2).certificate) is None
            history.add(issued(2))
        assert file.read_bytes() == whole


def test_a_report_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    index = ReportIndex(tmp_path)
    add(index, issued(1))
    (file,) = files(index)
    before = file.read_bytes()
    add(index, issued(1), issued(1, has_report=False))
    assert file.read_bytes() == before


def test_names_of_files_do_not_follow_from_the_image_alone(tmp_path: Path) -> None:
    one, other = ReportIndex(tmp_path / "one"), ReportIndex(tmp_path / "other")
    for index in (one, other):
        add(index, issued(1))
    assert files(one)[0].name != files(other)[0].name
    assert INSTANCE.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_workers_at_once_make_one_line_of_reports(tmp_path: Path) -> None:
    """Each names the last report that it sees; a chain without a fork shows that no two saw the same one."""
    index = ReportIndex(tmp_path)
    workers = 12
    pids = []
    gate, opener = os.pipe()
    for number in range(1, workers + 1):
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            os.read(gate, 1)  # all begin when the last one is there
            with index.history(INSTANCE, "1") as history:
                seen = history.before(issued(number).certificate)
                time.sleep(0.02)  # long enough for the others to look, if nothing held them back
                (tmp_path / f"seen{number}").write_text(seen.instance if seen else "none")
                history.add(issued(number))
            os._exit(0)
        pids.append(pid)
    os.close(opener)
    os.close(gate)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * workers
    followed = {(tmp_path / f"seen{number}").read_text() for number in range(1, workers + 1)}
    assert len(followed) == workers
