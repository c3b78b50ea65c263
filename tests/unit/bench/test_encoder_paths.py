"""`python -m certrad.bench encoder-paths`: each way beside PyTorch's bfloat16, or the reason that it did not run."""

from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import nn

from certrad.bench.measure import encoder_paths
from certrad.models.errors import Rejected


def clock_of(*seconds: float) -> Callable[[], float]:
    """A clock on which the actions take these seconds, in turns."""
    reads = count()

    def clock() -> float:
        done, ended = divmod(next(reads), 2)
        return sum(seconds[number % len(seconds)] for number in range(done + ended))

    return clock


def missing(_: nn.Module) -> encoder_paths.Encode:
    raise Rejected("dtype_unavailable", "it is not installed")


def broken(_: nn.Module) -> encoder_paths.Encode:
    def encode(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler\nand much more")

    return encode


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways of PyTorch, one that is not installed, and one that fails at its first batch."""
    kept = {path: encoder_paths.PATHS[path] for path in (encoder_paths.REFERENCE, "torch float32")}
    monkeypatch.setattr(encoder_paths, "PATHS", {**kept, "missing": missing, "broken": broken})


@pytest.mark.usefixtures("cheap")
def test_a_speedup_is_the_time_of_bfloat16_over_that_of_the_way() -> None:
    found = encoder_paths.measure(["demo"], 3, 2, clock_of(1.0, 4.0))
    assert {cost.path: cost.speedup for cost in found.costs} == {"torch bfloat16": 1.0, "torch float32": 0.25}
    assert [cost.samples_per_second for cost in found.costs] == [2.0, 0.5]


@pytest.mark.usefixtures("cheap")
def test_the_features_of_each_way_are_compared_with_float32() -> None:
    half, full = encoder_paths.measure(["demo"], 1, 2, clock_of(1.0)).costs
    assert 0.99 < half.least_cosine < full.least_cosine
    assert full.least_cosine == pytest.approx(1.0, abs=1e-6)


@pytest.mark.usefixtures("cheap")
def test_a_way_that_does_not_run_is_reported_with_the_reason() -> None:
    found = encoder_paths.measure(["demo"], 1, 2, clock_of(1.0)).not_run
    assert {each.path: each.reason for each in found} == {
        "missing": "dtype_unavailable: it is not installed",
        "broken": "RuntimeError: no compiler",
    }


def test_the_ways_that_were_considered_are_all_measured() -> None:
    assert list(encoder_paths.PATHS) == [
        "torch bfloat16",
        "torch float32",
        "torch.compile bfloat16",
        "torch dynamic int8",
        "openvino bfloat16",
    ]
