"""The schedule behind estimates follows the order of the queues, the time of each job, and the engines there are."""

from certrad.workers.contract.schedule import Queues, Work, remaining, waits
from certrad.workers.contract.turns import NORMAL, URGENT, Turn


def work(job_id: str, seconds: float | None = 10.0, *, tenant: str = "a", turn: int = 1, **options: bool) -> Work:
    precedence = URGENT if options.pop("urgent", False) else NORMAL
    return Work(job_id=job_id, turn=Turn(precedence=precedence, round=turn, tenant=tenant), seconds=seconds, **options)


def queues(*waiting: Work, engines: tuple[float | None, ...] = (0.0,), **options: object) -> Queues:
    return Queues(engines=engines, intakes=1, intake_seconds=1.0, waiting=waiting, **options)  # type: ignore[arg-type]


def test_each_job_waits_for_those_before_it() -> None:
    found = waits(queues(work("x", 10), work("y", 5, turn=2), work("z", 1, turn=3), engines=(4.0,)))
    assert found == {"x": 4.0, "y": 14.0, "z": 19.0}


def test_several_engines_take_the_jobs_in_turn() -> None:
    found = waits(queues(work("x"), work("y", turn=2), work("z", turn=3), engines=(0.0, 4.0)))
    assert found == {"x": 0.0, "y": 4.0, "z": 10.0}


def test_a_job_behind_one_of_unknown_length_waits_for_the_other_engine() -> None:
    assert waits(queues(work("x", None), work("y", turn=2))) == {"x": 0.0}
    found = waits(queues(work("x", None), work("y", turn=2), work("z", turn=3), engines=(0.0, 3.0)))
    assert found == {"x": 0.0, "y": 3.0, "z": 13.0}


def test_nothing_is_known_without_an_engine_or_behind_a_job_of_unknown_length() -> None:
    assert waits(queues(work("x"), engines=())) == {}
    assert waits(queues(work("x"), engines=(None,))) == {}


def test_a_job_in_intake_comes_in_its_tenants_turn() -> None:
    flood = [work(f"a{turn}", turn=turn) for turn in range(1, 9)]
    found = waits(queues(*flood, decoding=[work("b1", tenant="b")]))
    assert found["b1"] == 10.0  # it comes in the time of the first job, and into its round
    assert found["a2"] == 20.0


def test_a_new_job_waits_for_intake_and_for_one_job_of_a_flood() -> None:
    flood = [work(f"a{turn}", turn=turn) for turn in range(1, 9)]
    busy = queues(*flood, engines=(2.0,))
    begun = queues(*flood[1:], engines=(2.0,), last_run=[flood[0].turn])
    assert waits(begun.with_new(work("new", tenant="b")))["new"] == 2.0
    assert waits(busy.with_new(work("new", tenant="b")))["new"] == 12.0
    assert waits(busy.with_new(work("new", tenant="a")))["new"] == 82.0
    assert waits(busy.with_new(work("new", tenant="a", urgent=True)))["new"] == 2.0
    assert waits(queues().with_new(work("new")))["new"] == 1.0


def test_a_job_that_intake_never_sends_is_left_out() -> None:
    stopped = Queues(engines=(0.0,), intakes=0, intake_seconds=1.0, decoding=[work("x")])
    assert waits(stopped) == {}


def test_a_tuning_has_one_slice_in_each_round() -> None:
    tuning = work("t", 3, tenant="t", is_tuning=True)
    found = waits(queues(tuning, work("a1"), work("b1", tenant="b"), work("a2", turn=2)))
    assert found == {"t": 0.0, "a1": 3.0, "b1": 13.0, "a2": 26.0}


def test_engines_without_a_job_are_free_now() -> None:
    assert remaining({"x": 5.0, "y": None}, 4) == [5.0, None, 0.0, 0.0]
    assert remaining({"x": 5.0, "y": 6.0}, 1) == [5.0]
