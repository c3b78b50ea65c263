"""The audit trail: what is tampered with shows, crashes and full disks do no harm, and several processes may write."""

import errno
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent as ModelOfFhir

from certrad.workers.contract.audit_chain import GENESIS, Head, check_chain, read_head
from certrad.workers.contract.audit_events import KINDS, AuditEvent, EventName
from certrad.workers.contract.audit_trail import AuditTrail

NOVEMBER = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
DAY = 86_400
READ = AuditEvent(name="certificate_read", process="api", certificate="ab" * 32, network="127.0.0.1")


def written(folder: Path, count: int = 5, *, at: float = NOVEMBER) -> Path:
    """Writes some events, and gives the newest file."""
    trail = AuditTrail(folder, clock=lambda: at)
    for number in range(count):
        trail.record(AuditEvent(name="job_erased", process="api", job=f"job-{number}"))
    return max(folder.glob("*.jsonl"))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def names(folder: Path) -> list[str]:
    return [json.loads(line)["subtype"][-1]["code"] for path in sorted(folder.glob("*.jsonl")) for line in lines(path)]


def details(line: bytes) -> dict[str, str]:
    return {each["type"]: each["valueString"] for each in json.loads(line)["entity"][-1]["detail"]}


@pytest.mark.parametrize("name", KINDS)
def test_every_event_is_an_audit_event_of_fhir(tmp_path: Path, name: EventName) -> None:
    trail = AuditTrail(tmp_path)
    trail.record(
        AuditEvent(
            name=name,
            process="api",
            job="job",
            certificate="ab" * 32,
            prompt="prompt",
            instances=("cd" * 32,),
            network="192.0.2.1",
            details={"operation": "certify"},
        )
    )
    trail.record(AuditEvent(name=name, process="intake", failed=True))
    for line in lines(next(tmp_path.glob("*.jsonl"))):
        event: Any = ModelOfFhir.model_validate_json(line)
        assert event.action in "CRUDE"
        assert event.outcome in ("0", "4")
        assert sum(agent.requestor for agent in event.agent) == 1


def test_events_have_the_codes_of_dicom(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path)
    wanted = {"input_received": "110107", "certificate_read": "110106", "authentication_failed": "110114"}
    for name in ("input_received", "certificate_read", "authentication_failed"):
        trail.record(AuditEvent(name=name, process="api"))
    found = [json.loads(line) for line in lines(next(tmp_path.glob("*.jsonl")))]
    assert [event["type"]["code"] for event in found] == list(wanted.values())
    assert {event["type"]["system"] for event in found} == {"http://dicom.nema.org/resources/ontology/DCM"}


def test_a_whole_trail_is_in_order_and_has_a_head(tmp_path: Path) -> None:
    written(tmp_path)
    report = check_chain(tmp_path)
    assert (report.fault, report.first, report.head.number, report.files) == (None, 1, 5, 1)
    assert AuditTrail(tmp_path).head() == report.head


def _tamper(those: list[bytes]) -> None:
    those[1] = those[1].replace(b"job-1", b"job-9")


def _swap(those: list[bytes]) -> None:
    those[1], those[2] = those[2], those[1]


def _forge(those: list[bytes]) -> None:
    event = json.loads(those[2])
    event["extension"][1]["valueString"] = GENESIS
    those[2] = json.dumps(event).encode() + b"\n"


@pytest.mark.parametrize(
    ("place", "change"),
    [
        pytest.param(3, _tamper, id="a changed line"),  # it shows where the next line does not name it
        pytest.param(2, _swap, id="two lines that changed places"),
        pytest.param(3, lambda those: those.pop(2), id="a line that was removed"),
        pytest.param(5, lambda those: those.insert(3, those[3]), id="a line that was doubled"),
        pytest.param(1, lambda those: those.pop(0), id="the first line removed"),
        pytest.param(3, _forge, id="a line with another chain"),
        pytest.param(
            5, lambda those: those.append(those.pop().replace(b":5}", b":9}")), id="a last line of another number"
        ),
        pytest.param(2, lambda those: those.__setitem__(1, b"\n"), id="an empty line"),
        pytest.param(2, lambda those: those.__setitem__(1, b"{}\n"), id="what is no event"),
        pytest.param(2, lambda those: those.__setitem__(1, b"x" * 100_000 + b"\n"), id="a line without end"),
    ],
)
def test_what_is_changed_within_a_file_shows(
    tmp_path: Path, place: int, change: Callable[[list[bytes]], object]
) -> None:
    path = written(tmp_path)
    those = lines(path)
    change(those)
    path.write_bytes(b"".join(those))
    fault = check_chain(tmp_path).fault
    assert fault is not None
    assert (fault.file, fault.line) == (path.name, place)


def _remove(path: Path) -> None:
    path.unlink()


def _keep_first_line(path: Path) -> None:
    path.write_bytes(lines(path)[0])


def test_a_file_that_is_removed_or_cut_shows(tmp_path: Path) -> None:
    for month in range(3):
        written(tmp_path / "whole", 3, at=NOVEMBER + 32 * DAY * month)
    for cut in (_remove, _keep_first_line):
        for which in (0, 1):
            copy = tmp_path / f"{cut.__name__}-{which}"
            shutil.copytree(tmp_path / "whole", copy)
            cut(sorted(copy.glob("*.jsonl"))[which])
            assert check_chain(copy).fault is not None
    assert check_chain(tmp_path / "whole").fault is None


def test_lines_removed_from_the_end_show_by_a_noted_head_only(tmp_path: Path) -> None:
    path = written(tmp_path)
    noted = check_chain(tmp_path).head
    path.write_bytes(b"".join(lines(path)[:3]))
    assert check_chain(tmp_path).fault is None
    fault = check_chain(tmp_path, noted=noted).fault
    assert fault is not None
    assert fault.reason == "the trail ends at line 3, and line 5 was noted"


def test_a_trail_written_anew_shows_by_a_noted_head(tmp_path: Path) -> None:
    written(tmp_path / "old")
    written(tmp_path / "new", at=NOVEMBER + 1)
    noted = check_chain(tmp_path / "old").head
    fault = check_chain(tmp_path / "new", noted=noted).fault
    assert fault is not None
    assert "not the one that was noted" in fault.reason


def test_a_noted_head_is_read_as_it_is_printed() -> None:
    head = Head(12, "ab" * 32)
    assert read_head(str(head)) == head
    for text in ("12", "12:ab", f"x:{'ab' * 32}", f"-1:{'ab' * 32}"):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            read_head(text)


def test_the_unfinished_line_of_a_writer_that_died_is_removed_and_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    torn = lines(path)[-1][:100]
    path.write_bytes(path.read_bytes() + torn)
    assert (check_chain(tmp_path).fault, check_chain(tmp_path).unfinished) == (None, True)
    AuditTrail(tmp_path, clock=lambda: NOVEMBER).record(READ)
    report = check_chain(tmp_path)
    assert (report.fault, report.unfinished, report.head.number) == (None, False, 7)
    assert names(tmp_path)[-2:] == ["line_repaired", "certificate_read"]
    assert details(lines(path)[-2])["bytes"] == "100"


def test_a_writer_that_died_at_the_end_of_a_month_breaks_no_chain(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"action":')
    AuditTrail(tmp_path, clock=lambda: NOVEMBER + 2 * DAY).record(READ)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert check_chain(tmp_path).fault is None


def test_a_first_line_that_was_never_finished_breaks_no_chain(tmp_path: Path) -> None:
    tmp_path.joinpath("2026-11.jsonl").write_bytes(b'{"action":')
    AuditTrail(tmp_path, clock=lambda: NOVEMBER).record(READ)
    assert (check_chain(tmp_path).fault, check_chain(tmp_path).head.number) == (None, 2)


def test_a_clock_that_is_put_back_breaks_no_chain(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, at=NOVEMBER - 90 * DAY)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["2026-11.jsonl"]
    assert check_chain(tmp_path).fault is None


def _write_many(folder: Path, writer: int, count: int) -> None:
    trail = AuditTrail(folder)
    for number in range(count):
        trail.record(AuditEvent(name="job_erased", process=f"writer {writer}", job=f"{writer}-{number}"))


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, writer, 50)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    report = check_chain(tmp_path)
    assert (report.fault, report.head.number) == (None, 200)
    jobs = [
        json.loads(line)["entity"][0]["what"]["identifier"]["value"]
        for path in sorted(tmp_path.glob("*.jsonl"))
        for line in lines(path)
    ]
    assert sorted(jobs) == sorted(f"{writer}-{number}" for writer in range(4) for number in range(50))


def test_a_full_disk_loses_the_event_counts_it_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    losses: list[int] = []
    trail = AuditTrail(tmp_path, on_loss=lambda: losses.append(1), clock=lambda: NOVEMBER)
    write = os.write

    def half_of_it(descriptor: int, content: bytes) -> int:
        if len(content) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(content)[: len(content) // 2])

    monkeypatch.setattr(os, "write", half_of_it)
    assert [trail.record(READ), trail.record(READ)] == [False, False]
    assert len(losses) == 2
    assert len(lines(path)) == 5  # nothing of the lost ones is left
    monkeypatch.undo()
    assert trail.record(READ) is True
    assert names(tmp_path)[-2:] == ["events_lost", "certificate_read"]
    assert details(lines(path)[-2]) == {"lost": "2"}
    assert check_chain(tmp_path).fault is None


def test_a_loss_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = AuditTrail(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "")))
    trail.record(READ)
    monkeypatch.undo()
    trail.record(READ)
    trail.record(READ)
    assert names(tmp_path) == ["events_lost", "certificate_read", "certificate_read"]


def test_an_event_is_on_the_disk_when_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    path = written(tmp_path, 1)
    assert set(synced) == {str(path), str(tmp_path)}  # the bytes, and the name of the new file


def test_files_are_private(tmp_path: Path) -> None:
    path = written(tmp_path / "trail")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_files_past_their_retention_are_deleted_and_the_rest_stays_in_order(tmp_path: Path) -> None:
    for month in range(4):
        written(tmp_path, 3, at=NOVEMBER + 32 * DAY * month)
    now = NOVEMBER + 97 * DAY
    trail = AuditTrail(tmp_path, clock=lambda: now)
    assert trail.expire(days=30, process="maintenance") == 2  # November and January; there is none of December
    report = check_chain(tmp_path)
    assert (report.fault, report.first, report.files) == (None, 7, 2)
    assert names(tmp_path)[-2:] == ["file_expired", "file_expired"]
    assert trail.expire(days=30, process="maintenance") == 0


def test_nothing_expires_before_its_retention_and_never_the_newest_file(tmp_path: Path) -> None:
    written(tmp_path)
    trail = AuditTrail(tmp_path, clock=lambda: NOVEMBER + 10_000 * DAY)
    assert trail.expire(days=1, process="maintenance") == 0
    written(tmp_path, at=NOVEMBER + 32 * DAY)
    early = AuditTrail(tmp_path, clock=lambda: NOVEMBER + 60 * DAY)
    assert early.expire(days=60, process="maintenance") == 0
    assert AuditTrail(tmp_path / "none").expire(days=1, process="maintenance") == 0


def test_pseudonyms_are_of_one_key_and_do_not_hold_the_uid(tmp_path: Path) -> None:
    uid = "1.2.840.113619.2"
    pseudonym = AuditTrail(tmp_path / "a").pseudonym(uid)
    assert pseudonym == AuditTrail(tmp_path / "a").pseudonym(uid)
    assert pseudonym != AuditTrail(tmp_path / "b").pseudonym(uid)
    assert len(pseudonym) == 64
    assert uid not in pseudonym
