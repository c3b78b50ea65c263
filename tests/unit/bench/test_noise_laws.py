"""`python -m certrad.bench noise-laws`: what each law costs beside the law of the CPU."""

from collections.abc import Callable
from itertools import count
from typing import get_args

import pytest

from certrad.bench.measure import noise_laws
from certrad.models.types import NoiseLaw


def clock_of(*seconds: float) -> Callable[[], float]:
    """A clock on which the actions take these seconds, in turns."""
    reads = count()

    def clock() -> float:
        done, ended = divmod(next(reads), 2)
        return sum(seconds[number % len(seconds)] for number in range(done + ended))

    return clock


def test_a_cost_is_per_value_and_its_ratio_is_to_the_ziggurat() -> None:
    laws = get_args(NoiseLaw)
    found = noise_laws.measure([8], 3, clock_of(*range(1, 1 + len(laws))))
    assert [cost.law for cost in found.costs] == list(laws)
    assert [cost.ratio for cost in found.costs] == pytest.approx([1.0, 2.0, 3.0])
    assert found.costs[0].pixels_ns == pytest.approx(1e9 / (64 * 3 * 8 * 8))


def test_only_laws_of_the_cpu_have_a_time_of_their_normals_alone() -> None:
    found = noise_laws.measure([8], 1, clock_of(1.0))
    assert [cost.law for cost in found.costs if cost.normals_ns is None] == ["philox-boxmuller-f64"]
