"""One object that always fails ends as failed, and holds nothing else up; a side that is down costs no attempt."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.connector_bench import Bench
from tests.support.fake_pacs import FakePacs, FakeService, attributes

WRONG = [
    httpx.ReadTimeout("late"),
    httpx.RemoteProtocolError("Server disconnected"),
    *(401, 403, 429, 500, 502, 503, 504),
]
RULES = '[[rule]]\nname = "all"\nmatch = { modality = "DX" }\ninstances = "all"\nmax_instances = 3\n'
each_failure = pytest.mark.parametrize("wrong", WRONG, ids=str)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Three images; the poison is the first one."""
    images = [attributes(f"1.5.{number}", number) for number in (1, 2, 3)]
    made = Bench(tmp_path, FakePacs(images), FakeService(), rules=RULES)
    yield made
    made.database.close()


@each_failure
def test_series_that_always_fails_ends_as_failed_and_the_others_are_looked_at(
    bench: Bench, wrong: int | httpx.HTTPError
) -> None:
    bench.pacs.poison = {"1.2.66": wrong}
    bench.trigger("a", series="1.2.66")
    bench.trigger("b", series="1.2.3")
    bench.trigger("c", series="1.2.4")
    bench.run(rounds=20)
    assert [state for state, _ in bench.reasons("pulls")] == ["failed", "done", "done"]


@each_failure
def test_instance_that_always_fails_ends_as_failed_and_the_others_are_certified(
    bench: Bench, wrong: int | httpx.HTTPError
) -> None:
    bench.pacs.poison = {"1.5.1": wrong}
    bench.trigger("a")
    bench.run(rounds=20)
    assert [state for state, _ in bench.reasons("instances")] == ["failed", "ended", "ended"]


@pytest.mark.parametrize("wrong", [httpx.ReadTimeout("late"), 500, 502], ids=str)
def test_image_at_which_the_service_always_fails_ends_as_failed_and_the_others_are_certified(
    bench: Bench, wrong: int | httpx.HTTPError
) -> None:
    bench.service.poison = {"1.5.1": wrong}
    bench.trigger("a")
    bench.run(rounds=20)
    assert [state for state, _ in bench.reasons("instances")] == ["failed", "ended", "ended"]


@each_failure
def test_delivery_that_always_fails_is_put_aside_and_the_others_are_delivered(
    bench: Bench, wrong: int | httpx.HTTPError
) -> None:
    bench.pacs.poison = {"1.9.0.1": wrong}
    bench.trigger("a")
    bench.run(rounds=20)
    assert [one.state for one in bench.deliveries()] == ["put_aside", *["delivered"] * 5]


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_pacs_that_answers_nothing_else_for_days_costs_no_attempt(bench: Bench, status: int) -> None:
    bench.trigger("a")
    bench.looking.step(bench.now)
    bench.certifying.step(bench.now)
    bench.certifying.step(bench.now + 3600)
    bench.trigger("b", series="1.2.4")
    bench.pacs.status = status
    bench.run(rounds=100)
    assert [(one.state, one.attempts) for one in bench.deliveries()] == [("waiting", 0)] * 6
    assert [state for state, _ in bench.reasons("pulls")] == ["done", "open"]
    bench.pacs.status = None
    bench.run()
    assert {one.state for one in bench.deliveries()} == {"delivered"}
    assert [state for state, _ in bench.reasons("pulls")] == ["done", "done"]


def test_fault_of_the_pacs_at_one_object_is_waited_for_during_hours(bench: Bench) -> None:
    waits = [bench.delivering.patience.wait_long(attempt) for attempt in range(8)]
    assert sum(waits) > 3 * 3600
    assert max(waits) <= 6 * 3600


def test_delivery_that_somebody_wants_tried_at_once_is_tried_while_its_destination_is_left_alone(
    bench: Bench,
) -> None:
    bench.trigger("a")
    bench.looking.step(bench.now)
    bench.certifying.step(bench.now)
    bench.certifying.step(bench.now + 3600)
    bench.pacs.down = True
    bench.delivering.step(bench.now)
    before = len(bench.pacs.paths)
    bench.delivering.step(bench.now)
    assert len(bench.pacs.paths) == before
    bench.outbox.retry(None)
    bench.delivering.step(bench.now)
    assert len(bench.pacs.paths) > before
