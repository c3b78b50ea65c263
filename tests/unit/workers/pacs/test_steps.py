"""The three steps of the connector against a PACS and a service in memory: nothing is lost, nothing is done twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certrad.workers.pacs.outbox import Delivery
from certrad.workers.pacs.outcomes import outcome
from tests.support.connector_bench import HOUR, Bench
from tests.support.fake_pacs import FakePacs, FakeService, attributes, dicom_file


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, FakePacs([attributes("1.5.1", 1)]), FakeService())
    yield made
    made.database.close()


def test_instance_ends_as_one_report_and_one_page_in_the_pacs(bench: Bench) -> None:
    bench.trigger("a")
    bench.run()
    assert [(one.output, one.state) for one in bench.deliveries()] == [("sr", "delivered"), ("sc", "delivered")]
    assert [dicom_file(uid) in body for uid, body in zip(("1.9.0.1", "1.9.0.2"), bench.pacs.stored, strict=True)]
    assert bench.service.fields == [{"task": "mednist"}]


def test_same_series_again_does_nothing(bench: Bench) -> None:
    bench.trigger("a")
    bench.run()
    bench.trigger("b")
    bench.run()
    assert len(bench.service.keys) == 1
    assert len(bench.pacs.stored) == 2


def test_late_image_is_certified_alone_until_the_most_instances_are(bench: Bench) -> None:
    bench.trigger("a")
    bench.run()
    bench.pacs.series += [attributes(f"1.5.{number}", number) for number in range(2, 6)]
    bench.trigger("b")
    bench.run()
    assert len(bench.service.keys) == 3


def test_series_of_which_the_middle_was_certified_stays_as_it_is(bench: Bench) -> None:
    bench.rules = '[[rule]]\nname = "x"\ninstances = "middle"\n'
    bench.restart()
    bench.trigger("a")
    bench.run()
    bench.pacs.series += [attributes(f"1.5.{number}", number) for number in range(2, 6)]
    bench.trigger("b")
    bench.run()
    assert len(bench.service.keys) == 1


def test_whole_study_is_looked_at_series_by_series(bench: Bench) -> None:
    bench.trigger("a", series=None)
    bench.run()
    told = outcome(bench.database, "a")
    assert told is not None
    assert told["status"] == "done"
    (series,) = told["series"]
    assert [one["state"] for one in series["instances"][0]["deliveries"]] == ["delivered", "delivered"]
    assert "1.2" not in str(told)


@pytest.mark.parametrize("side", ["pacs", "service"])
def test_side_that_is_down_for_days_loses_nothing(bench: Bench, side: str) -> None:
    bench.trigger("a")
    getattr(bench, side).down = True
    bench.run(rounds=100)
    getattr(bench, side).down = False
    bench.run()
    assert [one.state for one in bench.deliveries()] == ["delivered", "delivered"]


def test_pacs_that_is_down_when_results_are_ready_gets_them_later(bench: Bench) -> None:
    bench.trigger("a")
    bench.looking.step(bench.now)
    bench.certifying.step(bench.now)
    bench.certifying.step(bench.now + HOUR)
    bench.pacs.down = True
    bench.run(rounds=100)
    assert [(one.state, one.attempts, one.reason) for one in bench.deliveries()] == [("waiting", 0, "refused")] * 2
    bench.pacs.down = False
    bench.run()
    assert [one.state for one in bench.deliveries()] == ["delivered", "delivered"]


def test_delivery_that_is_refused_too_often_is_put_aside_and_can_be_tried_again(bench: Bench) -> None:
    bench.pacs.says_stored = False
    bench.trigger("a")
    bench.run()
    assert {(one.state, one.attempts, one.reason) for one in bench.deliveries()} == {("put_aside", 3, "not_stored")}
    bench.pacs.says_stored = True
    assert bench.outbox.retry(None) == 2
    bench.run()
    assert {one.state for one in bench.deliveries()} == {"delivered"}


def test_dropped_delivery_is_not_tried_and_its_bytes_are_gone(bench: Bench) -> None:
    bench.pacs.says_stored = False
    bench.trigger("a")
    bench.run()
    bench.pacs.says_stored = True
    assert bench.outbox.drop(1) == 1
    assert bench.outbox.retry(None) == 1
    bench.run()
    assert [one.state for one in bench.deliveries()] == ["dropped", "delivered"]
    assert bench.database.rows("SELECT id FROM deliveries WHERE content IS NOT NULL") == []


@pytest.mark.parametrize("moment", ["before the bytes are read", "while the PACS stores it", "while it is refused"])
def test_delivery_that_is_dropped_meanwhile_stays_dropped(bench: Bench, moment: str) -> None:
    bench.trigger("a")
    bench.looking.step(bench.now)
    bench.certifying.step(bench.now)
    bench.certifying.step(bench.now + HOUR)
    bench.pacs.says_stored = moment != "while it is refused"
    if moment == "before the bytes are read":
        due = bench.outbox.due

        def due_and_dropped(now: float, **options: object) -> list[Delivery]:
            found = due(now)
            bench.outbox.drop(1)
            return found

        bench.outbox.due = due_and_dropped  # type: ignore[method-assign]
    else:
        bench.pacs.at_store = lambda: bench.outbox.drop(1) if len(bench.pacs.stored) == 1 else None
    bench.delivering.step(bench.now)
    assert bench.deliveries()[0].state == "dropped"
    assert len(bench.pacs.stored) == (1 if moment == "before the bytes are read" else 2)


def test_restart_between_any_two_steps_changes_nothing(bench: Bench) -> None:
    bench.trigger("a")
    for _ in range(6):
        for step in ("looking", "certifying", "delivering"):
            getattr(bench, step).step(bench.now)
            bench.restart()
            bench.now += HOUR
    assert len(bench.service.keys) == 1
    assert len(bench.pacs.stored) == 2


def test_job_that_was_submitted_and_not_noted_is_the_same_job(bench: Bench) -> None:
    bench.trigger("a")
    bench.looking.step(bench.now)
    bench.certifying.step(bench.now)
    bench.database.change("UPDATE instances SET state = 'chosen', job = NULL")  # as if killed before it was noted
    bench.run()
    assert len(bench.service.keys) == 1


def test_key_tells_nothing_of_the_instance_to_who_knows_its_identifier(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other", bench.pacs, FakeService())
    for one in (bench, other):
        one.trigger("a")
        one.run()
    other.database.close()
    assert bench.service.keys != other.service.keys


def test_job_that_lost_its_worker_is_submitted_as_another_one(bench: Bench) -> None:
    bench.service.ends = {"status": "failed", "error": {"code": "worker_lost"}}
    bench.trigger("a")
    bench.run(rounds=2)
    bench.service.ends = {"status": "succeeded"}
    bench.run()
    assert len(bench.service.keys) == 2
    assert {one.state for one in bench.deliveries()} == {"delivered"}


def test_image_that_the_service_cannot_read_ends_with_its_code(bench: Bench) -> None:
    bench.service.ends = {"status": "failed", "error": {"code": "dicom_unsupported"}}
    bench.trigger("a")
    bench.run()
    assert bench.reasons("instances") == [("failed", "dicom_unsupported")]
    assert len(bench.service.keys) == 1


@pytest.mark.parametrize(
    ("missing", "made"), [("/secondary-capture", "sr"), ("/certificate", "sc")], ids=["page", "report"]
)
@pytest.mark.parametrize(("status", "code"), [(410, "output_failed"), (500, "internal_error")])
def test_output_that_cannot_be_made_does_not_take_the_other_one_along(
    bench: Bench, missing: str, made: str, status: int, code: str
) -> None:
    bench.service.poison = {missing: status}
    bench.trigger("a")
    bench.run(rounds=30)
    assert [(one.output, one.state) for one in bench.deliveries()] == [(made, "delivered")]
    assert bench.reasons("instances") == [("ended", code)]


def test_instance_without_any_output_fails_with_the_code(bench: Bench) -> None:
    bench.service.poison = {"/secondary-capture": 410, "/certificate": 410}
    bench.trigger("a")
    bench.run()
    assert bench.reasons("instances") == [("failed", "output_failed")]


def test_request_that_the_service_refuses_ends_with_its_code(bench: Bench) -> None:
    bench.service.refusal = (422, "unknown_prompt")
    bench.trigger("a")
    bench.run()
    assert bench.reasons("instances") == [("failed", "unknown_prompt")]


def test_queue_that_is_full_is_waited_for(bench: Bench) -> None:
    bench.service.refusal = (503, "queue_full")
    bench.trigger("a")
    bench.run(rounds=50)
    bench.service.refusal = None
    bench.run()
    assert {one.state for one in bench.deliveries()} == {"delivered"}


def test_series_that_the_pacs_does_not_have_is_given_up(bench: Bench) -> None:
    bench.pacs.status = 404
    bench.trigger("a")
    bench.run()
    assert bench.reasons("pulls") == [("failed", "not_found")]


def test_ignored_series_is_told_with_rule_and_reason_and_nothing_is_retrieved(bench: Bench) -> None:
    bench.pacs.series = [attributes("1.5.1", 1, t00080060="CT")]
    bench.trigger("a")
    bench.run()
    assert outcome(bench.database, "a") == {
        "status": "done",
        "series": [{"state": "ignored", "rule": "hold back", "reason": "not here", "instances": []}],
    }
    assert not any("/instances/" in path for path in bench.pacs.paths)


@pytest.mark.parametrize(
    "own",
    [
        attributes("1.9.0.2", 1, t00080060="OT"),
        attributes("1.7", 1, t00080060="OT", t00080070="certrad"),
        attributes("1.7", 1, t00080060="SR"),
        attributes("1.7", 1, t00080060="SEG"),
        attributes("1.7", 1, t00080060="PR"),
        attributes("1.7", 1, t00080060="KO"),
    ],
    ids=["own identifier", "own manufacturer", "SR", "SEG", "PR", "KO"],
)
def test_result_is_never_input(bench: Bench, own: dict[str, object]) -> None:
    bench.rules = '[[rule]]\nname = "everything"\ninstances = "all"\nmax_instances = 9\n'
    bench.restart()
    bench.trigger("a")
    bench.run()
    bench.pacs.series = [own]
    bench.trigger("b", series="1.2.9")
    bench.run()
    assert len(bench.service.keys) == 1


def test_database_and_its_folder_are_private(bench: Bench, tmp_path: Path) -> None:
    bench.trigger("a")
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert files
    assert [path.name for path in files if path.stat().st_mode & 0o77] == []


def test_audit_trail_tells_what_was_looked_at_retrieved_and_stored_without_an_identifier(
    bench: Bench, tmp_path: Path
) -> None:
    bench.trigger("a")
    bench.run()
    lines = "".join(path.read_text() for path in (tmp_path / "audit-trail").glob("*.jsonl"))
    for name, count in {"archive_queried": 1, "input_pulled": 1, "output_stored": 2}.items():
        assert lines.count(f'"{name}"') == count
    assert not any(uid in lines for uid in ("1.5.1", "1.2.3", "1.9.0.1"))


@pytest.mark.parametrize("searches", [True, False], ids=["in pages", "by their headers"])
def test_every_instance_of_a_series_is_seen(bench: Bench, searches: bool) -> None:
    bench.pacs.series = [attributes(f"1.5.{number}", number) for number in (1, 2, 3)]
    bench.pacs.searches = searches
    bench.trigger("a")
    bench.run()
    assert len(bench.service.keys) == 3


def test_search_for_the_series_of_a_study_is_in_the_audit_trail(bench: Bench, tmp_path: Path) -> None:
    bench.trigger("a", series=None)
    bench.run()
    lines = "".join(path.read_text() for path in (tmp_path / "audit-trail").glob("*.jsonl"))
    assert lines.count('"archive_queried"') == 2
