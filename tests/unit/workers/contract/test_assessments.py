"""Readers' assessments: all stay, the latest counts, and neither a second send nor a crash changes them."""

import fcntl
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from certrad.workers.contract.assessments import REASONS, VERDICTS, Assessments, ConflictError, Subject, subject_of
from certrad.workers.offline.agreement import agreements
from tests.support.certificates import ADAPTER, CASES, genuine

CERTIFIED = Subject(outcome="certified", backbone="demo", prompt="template")
ABSTAINED = Subject(outcome="abstained", backbone="demo", prompt="template")
ONE, OTHER = "ab" * 32, "cd" * 32
DOCUMENTS = Path(__file__).parents[3] / "data"


def test_all_assessments_stay_and_the_latest_counts(tmp_path: Path) -> None:
    assessments = Assessments(tmp_path, clock=lambda: 7.0)
    assessments.record(ONE, CERTIFIED, verdict="accept", reason="agrees")
    assessments.record(ONE, CERTIFIED, verdict="reject", reason="wrong_class")
    assessments.record(OTHER, ABSTAINED, verdict="accept", reason="agrees")
    assert [each.verdict for each in assessments.of(ONE)] == ["accept", "reject"]
    assert sorted((each.outcome, each.verdict) for each in assessments.latest()) == [
        ("abstained", "accept"),
        ("certified", "reject"),
    ]
    assert assessments.totals() == {
        ("certified", "accept"): 1,
        ("certified", "reject"): 1,
        ("abstained", "accept"): 1,
    }


def test_another_process_sees_what_was_recorded(tmp_path: Path) -> None:
    reader = Assessments(tmp_path)
    assert reader.of(ONE) == ()
    made = Assessments(tmp_path).record(ONE, CERTIFIED, verdict="accept", reason="agrees", job="job", task="mednist")
    assert reader.of(ONE) == (made,)
    Assessments(tmp_path).record(ONE, CERTIFIED, verdict="amend", reason="other")
    assert len(reader.of(ONE)) == 2


def test_the_same_key_stores_once(tmp_path: Path) -> None:
    first, second = Assessments(tmp_path), Assessments(tmp_path)
    made = first.record(ONE, CERTIFIED, verdict="accept", reason="agrees", key_sha256="k")
    assert second.record(ONE, CERTIFIED, verdict="accept", reason="agrees", key_sha256="k") == made
    assert len(first.of(ONE)) == 1


@pytest.mark.parametrize("changed", ["verdict", "certificate"])
def test_a_key_of_another_assessment_is_a_conflict(tmp_path: Path, changed: str) -> None:
    assessments = Assessments(tmp_path)
    assessments.record(ONE, CERTIFIED, verdict="accept", reason="other", key_sha256="k")
    with pytest.raises(ConflictError):
        assessments.record(
            OTHER if changed == "certificate" else ONE,
            CERTIFIED,
            verdict="reject" if changed == "verdict" else "accept",
            reason="other",
            key_sha256="k",
        )
    assert len(assessments.latest()) == 1


def test_what_a_process_that_died_left_is_passed_over(tmp_path: Path) -> None:
    assessments = Assessments(tmp_path)
    assessments.record(ONE, CERTIFIED, verdict="accept", reason="agrees")
    with (tmp_path / "assessments.jsonl").open("a") as file:
        file.write('{"certificate": "abab')
    assessments.record(ONE, CERTIFIED, verdict="reject", reason="other")
    for reader in (assessments, Assessments(tmp_path)):
        assert [each.verdict for each in reader.of(ONE)] == ["accept", "reject"]


def _record_many(folder: Path, number: int) -> None:
    assessments = Assessments(folder)
    for index in range(50):
        assessments.record(f"{number}-{index}", CERTIFIED, verdict="accept", reason="agrees")
        assessments.record(f"{index}", CERTIFIED, verdict="accept", reason="agrees", key_sha256=f"{index}")


def test_several_processes_record_all_of_theirs_and_each_key_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_record_many, args=(tmp_path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assessments = Assessments(tmp_path)
    assert len(assessments.latest()) == 4 * 50 + 50
    assert [len(assessments.of(f"{index}")) for index in range(50)] == [1] * 50


def test_nobody_else_can_write_while_an_assessment_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, locked = os.write, []

    def watched(descriptor: int, content: bytes) -> int:
        with (tmp_path / "assessments.jsonl").open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(True)
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", watched)
    Assessments(tmp_path).record(ONE, CERTIFIED, verdict="accept", reason="agrees")
    assert locked == [True]


def test_every_verdict_has_a_reason_and_agreement_is_accepted_only() -> None:
    for verdict in VERDICTS:
        assert any(verdict in reason.verdicts for reason in REASONS.values())
    assert REASONS["agrees"].verdicts == ("accept",)


@pytest.mark.parametrize("schema", [2, 3])
def test_stored_documents_of_every_schema_say_what_they_are_about(schema: int) -> None:
    lines = (DOCUMENTS / f"documents_of_schema_{schema}.jsonl").read_text().splitlines()
    documents = [json.loads(line)["document"] for line in lines]
    assert {subject_of(document.encode()).outcome for document in documents} >= {"abstained"}
    assert {subject_of(document.encode()).backbone for document in documents} == {"demo"}


def test_new_documents_say_what_they_are_about() -> None:
    zero_shot = next(case for case in CASES if "steps" in str(case.adaptation))
    assert subject_of(genuine(CASES[6])) == Subject(
        outcome="certified", backbone="demo", prompt=CASES[6].request.classifier.prompt
    )
    assert subject_of(genuine(zero_shot)).prompt == "template"


def test_subject_names_the_adapter_of_the_encoder() -> None:
    assert subject_of(genuine(replace(CASES[6], adapter=ADAPTER))).adapter == ADAPTER
    assert subject_of(genuine(CASES[6])).adapter is None


def test_assessments_of_the_adapted_and_the_frozen_encoder_are_counted_apart(tmp_path: Path) -> None:
    assessments = Assessments(tmp_path)
    assessments.record(ONE, replace(CERTIFIED, adapter=ADAPTER), verdict="accept", reason="agrees")
    assessments.record(OTHER, CERTIFIED, verdict="reject", reason="other")
    found = {each.adapter: (each.accepted, each.rejected) for each in agreements(Assessments(tmp_path).latest())}
    assert found == {ADAPTER: (1, 0), None: (0, 1)}


def test_line_of_a_release_without_adapters_is_of_the_frozen_encoder(tmp_path: Path) -> None:
    Assessments(tmp_path).record(ONE, CERTIFIED, verdict="accept", reason="agrees")
    path = tmp_path / "assessments.jsonl"
    line = json.loads(path.read_text())
    del line["adapter"]
    path.write_text(json.dumps(line) + "\n")
    assert [each.adapter for each in Assessments(tmp_path).of(ONE)] == [None]


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{}", b'{"claim":{}}', b'{"claims":[{}]}'])
def test_what_is_no_certificate_has_no_subject(content: bytes) -> None:
    with pytest.raises(ValueError, match="no schema that assessments know"):
        subject_of(content)
