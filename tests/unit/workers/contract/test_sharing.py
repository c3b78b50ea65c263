"""How long a certificate takes when idle engines take part: never less than the code shares."""

import pytest

from certrad.workers.contract.sharing import shared_seconds


def expected(
    seconds: float = 40.0,
    *,
    runs: int = 1,
    batches: float = 1_000.0,
    engines: int = 4,
    others: tuple[float | None, ...] = (),
    share_seconds: float = 2.0,
) -> float:
    return shared_seconds(
        seconds, runs=runs, batches=batches, engines=engines, others=others, share_seconds=share_seconds
    )


def test_one_engine_has_the_whole_certificate() -> None:
    assert expected(engines=1) == 40.0


def test_idle_engines_share_a_certificate_after_the_second_in_which_they_join() -> None:
    assert expected(engines=4) == 1.0 + 40.0 / 4


def test_each_run_of_an_automatic_sigma_is_joined_by_itself() -> None:
    assert expected(runs=3, engines=4) == 3.0 + 40.0 / 4


@pytest.mark.parametrize("runs", [1, 3])
def test_runs_that_are_too_short_to_ask_for_help_are_not_shared(runs: int) -> None:
    assert expected(1.9 * runs, runs=runs) == 1.9 * runs
    assert expected(2.1 * runs, runs=runs) < 2.1 * runs


def test_nothing_is_shared_while_a_job_has_no_engine_of_its_own() -> None:
    assert expected(engines=2, others=(5.0, 5.0)) == 40.0
    assert expected(engines=3, others=(5.0, 5.0)) < 40.0


def test_the_engines_may_help_every_other_certificate_first() -> None:
    assert expected(engines=4, others=(20.0,)) == 1.0 + (40.0 + 20.0) / 4
    assert expected(engines=4, others=(2_000.0,)) == 40.0


def test_a_job_of_unknown_length_keeps_its_engine() -> None:
    assert expected(engines=5, others=(None,)) == expected(engines=4)
    assert expected(engines=2, others=(None,)) == 40.0


def test_a_run_takes_at_least_one_batch() -> None:
    assert expected(engines=64, batches=10.0) == 1.0 + 40.0 / 10


def test_sharing_never_makes_a_certificate_longer() -> None:
    assert expected(2.0, engines=2, runs=1) == 2.0
