"""What failed is not certified again unasked, and a person can have it tried again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certrad.workers.contract.triggers import Event, Trigger
from tests.support.connector_bench import Bench
from tests.support.fake_pacs import FakePacs, FakeService, attributes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, FakePacs([attributes("1.5.1", 1)]), FakeService())
    yield made
    made.database.close()


@pytest.mark.parametrize(("event", "state"), [("study", "ended"), ("orthanc", "failed")])
def test_failed_instance_is_tried_again_when_a_person_asks_and_not_when_the_pacs_does(
    bench: Bench, event: Event, state: str
) -> None:
    bench.service.ends = {"status": "failed", "error": {"code": "hospital_extra_missing"}}
    bench.trigger("a")
    bench.run()
    bench.service.ends = {"status": "succeeded"}
    bench.pulls.add(Trigger(id="b", event=event, study="1.2", series="1.2.3"))
    bench.run()
    assert [found for found, _ in bench.reasons("instances")] == [state]


def test_failed_series_is_no_longer_listed_once_a_later_trigger_made_it_good(bench: Bench) -> None:
    bench.pacs.status = 404
    bench.trigger("a")
    bench.run()
    assert [pull.reason for pull in bench.pulls.failed()] == ["not_found"]
    bench.pacs.status = None
    bench.trigger("b")
    bench.run()
    assert bench.pulls.failed() == []


def test_instance_that_a_person_tries_again_gets_as_many_jobs_as_before(bench: Bench) -> None:
    bench.service.ends = {"status": "failed", "error": {"code": "worker_lost"}}
    bench.trigger("a")
    bench.run(rounds=20)
    assert len(bench.service.keys) == 4
    bench.trigger("b")
    bench.run(rounds=20)
    assert len(bench.service.keys) == 8
