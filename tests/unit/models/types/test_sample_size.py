"""The fewest samples that can certify are exactly those from which on `decide` can."""

from dataclasses import replace

import pytest

from certrad.models.smoothing.bounds import decide
from certrad.models.types import Abstention, Bound, Certificate, LabelCounts, Outcome, SmoothingParams
from certrad.models.types.sample_size import fewest_samples


def of_agreeing(params: SmoothingParams, n_classes: int) -> Outcome:
    rest = (0,) * (n_classes - 1)
    selection, estimation = LabelCounts(per_class=(params.n0, *rest)), LabelCounts(per_class=(params.n, *rest))
    return decide(selection, estimation, params)


@pytest.mark.parametrize("alpha", [1e-6, 1e-4, 0.001, 0.0009765, 0.01])
@pytest.mark.parametrize("bound", ["two_class", "cohen"])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("target", [None, 0.1])
def test_fewest_samples_certify_and_one_less_abstains(
    alpha: float, bound: Bound, n_classes: int, target: float | None
) -> None:
    params = SmoothingParams(alpha=alpha, bound=bound, n0=10, target_radius=target)
    needed = fewest_samples(params, n_classes, params.sigma)
    assert isinstance(of_agreeing(replace(params, n=needed), n_classes), Certificate)
    if needed > 10:
        assert isinstance(of_agreeing(replace(params, n=needed - 1), n_classes), Abstention)


def test_ten_samples_are_too_few_at_the_usual_alpha() -> None:
    assert fewest_samples(SmoothingParams(), 6, 0.25) == 11
