"""SEQ-CERTIFY as a whole publishes false bounds as rarely as promised, exactly, and wrong versions are caught.

Three classes; class 0 is the selected one. The distribution of the counts is carried from look to look through the very
code that certifies.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import pytest
from scipy import special, stats

from certrad.models.smoothing import publish
from certrad.models.smoothing.sequential import ConfidenceSequence, SequentialTest
from certrad.models.types import AlphaSplit, Certificate, LabelCounts, Outcome, SmoothingParams

ALPHA = 0.2
N, LOOK_EVERY = 70, 14
P = [(0.5, 0.5, 0.0), (0.6, 0.4, 0.0), (0.6, 0.3, 0.1), (0.45, 0.45, 0.1), (0.85, 0.15, 0.0), (0.4, 0.3, 0.3)]
Probabilities = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenient(SmoothingParams):
    """Four times the largest alpha that is allowed, 0.2, so that errors are frequent among few samples."""

    alpha: float = 0.05

    def alpha_split(self, n_classes: int) -> AlphaSplit:
        split = SmoothingParams.alpha_split(self, n_classes)
        return AlphaSplit(
            p_a=4 * split.p_a, p_b=4 * split.p_b, p_a_anytime=4 * split.p_a_anytime, p_b_anytime=4 * split.p_b_anytime
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesNotAdded(SmoothingParams):
    """All of alpha for each bound."""

    alpha: float = 0.05

    def alpha_split(self, n_classes: int) -> AlphaSplit:
        assert n_classes == 3
        return AlphaSplit(p_a=ALPHA, p_b=ALPHA, p_a_anytime=ALPHA, p_b_anytime=ALPHA)


class EitherBoundSuffices(SequentialTest):
    """Reads a bound of the runner-up as one of the selected class, as if there were no third."""

    def _shown(self, class_index: int) -> Outcome:
        p_a = max(sequence.millionths for sequence in sequences(self)) / 10**6
        return publish(class_index, p_a, round(1 - p_a, 6), self._params.sigma)


class RunnerUpFromSelection(LabelCounts):
    """The label that came second in the selection samples, here class 2, is taken for the runner-up."""

    def runner_up(self, class_index: int) -> int:
        assert class_index == 0
        return self.per_class[2]


def true_radius(p: Probabilities) -> float:
    return float(special.ndtri(p[0]) - special.ndtri(max(p[1:]))) / 2


def asked(p: Probabilities, kind: type[SmoothingParams] = Lenient) -> SmoothingParams:
    """Returns the parameters with the target at the true radius, rounded up: to reach it is to claim too much."""
    return kind(sigma=1.0, n0=20, n=N, target_radius=math.ceil(max(true_radius(p), 0.0) * 1e4 + 1) / 1e4)


def sequences(test: SequentialTest) -> list[ConfidenceSequence]:
    return [test._top, test._others]


def probability_of_error(
    p: Probabilities,
    params: SmoothingParams,
    test_kind: type[SequentialTest] = SequentialTest,
    counts_kind: type[LabelCounts] = LabelCounts,
) -> float:
    """Tells whether p_a_lower or p_b_upper is false at a look or in the outcome.

    The sequences forget at each look what earlier ones showed. That changes nothing: a run on which nothing false was
    shown has not reached the target, which is above the true radius, and giving up depends on the counts alone.
    """
    test = test_kind(params, LabelCounts(per_class=(12, 7, 1)), look_every=LOOK_EVERY)
    block = [(a, b) for a, b in product(range(LOOK_EVERY + 1), repeat=2) if a + b <= LOOK_EVERY]
    shares = stats.multinomial.pmf([(a, b, LOOK_EVERY - a - b) for a, b in block], LOOK_EVERY, p)
    runs, wrong = {(0, 0): 1.0}, 0.0
    for n in range(LOOK_EVERY, params.n + 1, LOOK_EVERY):
        arrived: dict[tuple[int, int], float] = defaultdict(float)
        for (k_a, k_b), mass in runs.items():
            for (a, b), share in zip(block, shares, strict=True):
                arrived[k_a + a, k_b + b] += mass * share
        runs = {}
        for (k_a, k_b), mass in arrived.items():
            for sequence in sequences(test):
                sequence.millionths = 0
            verdict = test.look(counts_kind(per_class=(k_a, k_b, n - k_a - k_b)))
            claims = [test._shown(0), *([] if verdict is None else [verdict.outcome])]
            if any(claim.p_a_lower > p[0] or claim.p_b_upper < max(p[1:]) for claim in claims):
                wrong += mass
            elif verdict is None:
                runs[k_a, k_b] = mass
            else:
                assert not isinstance(verdict.outcome, Certificate) or verdict.outcome.radius <= true_radius(p)
    return wrong


@pytest.mark.parametrize("p", P)
def test_seq_certify_as_a_whole_errs_at_most_alpha(p: Probabilities) -> None:
    assert 1e-2 < probability_of_error(p, asked(p)) <= ALPHA


def test_shares_that_are_not_added_are_caught() -> None:
    p = (0.6, 0.3, 0.1)
    assert probability_of_error(p, asked(p, SharesNotAdded)) > ALPHA


def test_a_claim_from_either_bound_alone_is_caught() -> None:
    p = (0.4, 0.3, 0.3)
    assert probability_of_error(p, asked(p), test_kind=EitherBoundSuffices) > ALPHA


def test_a_runner_up_chosen_by_the_selection_samples_is_caught() -> None:
    p = (0.5, 0.3, 0.2)
    assert probability_of_error(p, asked(p)) <= ALPHA
    assert probability_of_error(p, asked(p), counts_kind=RunnerUpFromSelection) > ALPHA
