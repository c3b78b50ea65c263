"""Images that were pushed: the rules decide, a kill loses nothing and repeats nothing, and no file outlives its job."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.pacs.instances import Instances
from certrad.workers.pacs.pulls import Pulls
from certrad.workers.pacs.synthetic_instance import synthetic_instance
from tests.support.audit import audited
from tests.support.connector_bench import HOUR, Bench
from tests.support.fake_pacs import FakePacs, FakeService
from tests.support.images import dicom

STUDY, SERIES = "1.2", "1.2.3"


def image(sop: str, **elements: object) -> bytes:
    """An image as a PACS pushes it."""
    named = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": sop, "Modality": "DX"}
    return dicom(np.zeros((4, 4), np.uint8), **{**named, **elements})


def push(bench: Bench, *contents: bytes, study: str | None = None) -> None:
    """Puts a request where the API does."""
    with bench.spool.receive(study, min_free_bytes=0) as request:
        for content in contents:
            _, file = request.open()
            with file:
                request.write(file, content)


def events(bench: Bench) -> list[str]:
    """The events of the audit trail."""
    assert isinstance(bench.receiving.notes._trail, AuditTrail)
    return [event["name"] for event in audited(bench.pacs_dir / "audit-trail")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, FakePacs(), FakeService())
    yield made
    made.database.close()


def test_pushed_image_ends_as_one_report_and_one_page_in_the_pacs_and_is_deleted(bench: Bench) -> None:
    push(bench, image("1.5.1"))
    bench.run()
    assert [(one.output, one.state) for one in bench.deliveries()] == [("sr", "delivered"), ("sc", "delivered")]
    assert bench.service.fields == [{"task": "mednist"}]
    assert bench.spool.waiting() == []
    assert [path for path in bench.pacs.paths if "/instances/" in path] == []


def test_pushed_image_is_audited_when_it_is_taken(bench: Bench) -> None:
    push(bench, image("1.5.1"))
    bench.run()
    assert events(bench).count("input_received") == 1
    assert "input_pulled" not in events(bench)


def test_image_that_is_pushed_again_is_certified_once(bench: Bench) -> None:
    for _ in range(2):
        push(bench, image("1.5.1"))
        bench.run()
    assert len(bench.service.keys) == 1
    assert bench.spool.waiting() == []


def test_image_that_was_retrieved_before_is_not_certified_again_when_it_is_pushed(bench: Bench) -> None:
    bench.pacs.series = [{"00080018": {"Value": ["1.5.1"]}, "00080060": {"Value": ["DX"]}}]
    bench.trigger("a", SERIES)
    bench.run()
    push(bench, image("1.5.1"))
    bench.run()
    assert len(bench.service.keys) == 1


def test_rule_chooses_among_the_images_of_one_request(bench: Bench) -> None:
    bench.rules = '[[rule]]\nname = "x"\ninstances = "middle"\n'
    bench.restart()
    push(bench, *(image(f"1.5.{number}", InstanceNumber=number) for number in (3, 1, 2)))
    bench.run()
    assert [row["sop"] for row in bench.database.rows("SELECT sop FROM instances")] == ["1.5.2"]


@pytest.mark.parametrize(
    "content",
    [
        image("1.5.1", Modality="CT"),
        image("1.5.1", Modality="SR"),
        image("1.5.1", Manufacturer="certrad"),
        image("1.5.1", StudyInstanceUID=None),
        synthetic_instance(),
        b"no DICOM file",
        image("1.5.1")[:200],
    ],
)
def test_what_is_no_input_is_ignored_audited_and_deleted(bench: Bench, content: bytes) -> None:
    push(bench, content)
    bench.run(2)
    assert bench.database.rows("SELECT 1 FROM instances") == []
    assert "input_ignored" in events(bench)
    assert bench.spool.waiting() == []


def test_own_result_is_ignored_even_if_it_looks_like_an_image(bench: Bench) -> None:
    push(bench, image("1.5.1"))
    bench.run()
    push(bench, image("1.9.0.2"))
    bench.run()
    assert len(bench.service.keys) == 1


def test_image_of_another_study_than_the_address_says_is_ignored(bench: Bench) -> None:
    push(bench, image("1.5.1"), image("1.5.2", StudyInstanceUID="1.3"), study="1.3")
    bench.run()
    assert [row["sop"] for row in bench.database.rows("SELECT sop FROM instances")] == ["1.5.2"]


def test_file_stays_until_its_job_has_ended(bench: Bench) -> None:
    bench.service.ends = {"status": "running"}
    push(bench, image("1.5.1"))
    bench.run(3)
    assert len(bench.spool.waiting()) == 1
    bench.service.ends = {"status": "succeeded"}
    bench.run(3)
    assert bench.spool.waiting() == []


def test_job_that_lost_its_worker_is_submitted_again_from_the_file(bench: Bench) -> None:
    bench.service.ends = {"status": "failed", "error": {"code": "worker_lost"}}
    push(bench, image("1.5.1"))
    bench.run(3)
    bench.service.ends = {"status": "succeeded"}
    bench.run()
    assert len(bench.service.keys) > 1
    assert len(bench.deliveries()) == 2


def test_pushed_image_is_certified_while_the_pacs_is_down(bench: Bench) -> None:
    bench.pacs.down = True
    bench.certifying.patience.silent("pacs", bench.now + 100 * HOUR)
    push(bench, image("1.5.1"))
    bench.run()
    assert [one.state for one in bench.deliveries()] == ["waiting", "waiting"]
    assert bench.spool.waiting() == []


@pytest.mark.parametrize(("owner", "method"), [(Instances, "choose"), (Pulls, "take"), (Instances, "received")])
@pytest.mark.parametrize("before", [True, False])
def test_kill_while_images_are_taken_loses_none_and_repeats_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, before: bool
) -> None:
    whole = getattr(owner, method)

    def killed(*arguments: object) -> None:
        if not before:
            whole(*arguments)
        raise SystemExit

    left_alone = image("1.7.1", SeriesInstanceUID="1.2.5", Modality="CT")
    push(bench, image("1.5.1"), image("1.6.1", SeriesInstanceUID="1.2.4"), left_alone)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, killed)
        with pytest.raises(SystemExit):
            bench.receiving.step()
    bench.restart()
    bench.run()
    assert sorted(row["sop"] for row in bench.database.rows("SELECT sop FROM instances")) == ["1.5.1", "1.6.1"]
    assert [one.state for one in bench.deliveries()] == ["delivered"] * 4
    assert bench.spool.waiting() == []


def test_file_that_somebody_deleted_ends_its_instance_with_a_reason(bench: Bench) -> None:
    push(bench, image("1.5.1"))
    bench.receiving.step()
    (request,) = bench.spool.waiting()
    for file in bench.spool.files(request):
        bench.spool.delete(file)
    bench.run()
    assert bench.reasons("instances") == [("failed", "received_file_lost")]


def test_pushed_image_that_failed_is_tried_again_with_the_copy_in_the_pacs(bench: Bench) -> None:
    bench.service.ends = {"status": "failed", "error": {"code": "unreadable_image"}}
    push(bench, image("1.5.1"))
    bench.run()
    assert [state for state, _ in bench.reasons("instances")] == ["failed"]
    bench.service.ends = {"status": "succeeded"}
    assert Instances(bench.database).retry() == 1
    bench.run()
    assert [one.state for one in bench.deliveries()] == ["delivered"] * 2
    assert len([path for path in bench.pacs.paths if path.endswith("/instances/1.5.1")]) == 1
