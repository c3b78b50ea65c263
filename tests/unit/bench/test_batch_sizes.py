"""`python -m certrad.bench batch-sizes`: every size beside the one of the service, in processor time."""

from collections.abc import Callable
from itertools import count

import pytest

from certrad.bench.measure import batch_sizes
from certrad.models.types.smoothing import BLOCK_CPU


def clock_of(*seconds: float) -> Callable[[], float]:
    """A clock on which the passes take these seconds, in turns."""
    reads = count()

    def clock() -> float:
        done, ended = divmod(next(reads), 2)
        return sum(seconds[number % len(seconds)] for number in range(done + ended))

    return clock


def test_a_cost_is_that_of_a_sample_beside_the_size_of_the_service_on_one_thread() -> None:
    found = batch_sizes.measure(["demo"], [2], [1, 2], 3, clock_of(BLOCK_CPU * 0.001, 0.004, 0.006))
    assert [(each.threads, each.batch) for each in found.costs] == [(1, BLOCK_CPU), (1, 2), (2, 2)]
    assert [each.ms for each in found.costs] == pytest.approx([1.0, 2.0, 3.0])
    assert [each.ratio for each in found.costs] == pytest.approx([1.0, 2.0, 3.0])


def test_the_first_turn_is_not_counted() -> None:
    first = [100.0, 100.0]
    later = [BLOCK_CPU * 0.001, 0.001]
    found = batch_sizes.measure(["demo"], [1], [1], 1, clock_of(*first, *later))
    assert [each.ms for each in found.costs] == pytest.approx([1.0, 1.0])
