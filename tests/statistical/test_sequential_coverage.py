"""SEQ-CERTIFY claims too much as rarely as promised, computed exactly, and wrong versions of it are caught.

Nothing is simulated, so nothing here fails by chance: the distribution of the counts is carried from look to look.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.smoothing.bounds import clopper_pearson_lower
from certrad.models.smoothing.sequential import ConfidenceSequence, log_e_value
from certrad.models.types import ETA

ALPHA = 0.05
Z0 = (0.0, 0.5, 1.0, 2.0)
NULLS = tuple(float(special.ndtr(z)) for z in Z0)
Floats = NDArray[np.float64]
LogE = Callable[[Floats, Floats, float], Floats]
"""(successes, failures, null probability) -> evidence against it"""


def probability_of_rejection(
    rejects: Callable[[int], NDArray[np.bool_]], looks: Sequence[int], probabilities: Sequence[float]
) -> list[float]:
    """Returns for each p the probability that Bin(n, p) is, at any look n, a count s with rejects(n)[s]."""
    p = np.array(probabilities)
    alive, rejected, before = np.ones((p.size, 1)), np.zeros(p.size), 0
    for n in looks:
        step = stats.binom.pmf(np.arange(n - before + 1), n - before, p[:, None])
        alive = np.stack([np.convolve(*rows) for rows in zip(alive, step, strict=True)])
        hit = rejects(n)
        rejected += alive[:, hit].sum(axis=1)
        alive[:, hit] = 0
        before = n
    return [float(value) for value in rejected]


# -- the one-class e-process -----------------------------------------------------------------------------------------


def as_shipped(p0: float, alpha: float = ALPHA) -> Callable[[int], NDArray[np.bool_]]:
    def rejects(n: int) -> NDArray[np.bool_]:
        boundary = bisect_left(range(n + 1), -math.log(alpha), key=lambda s: log_e_value(s, n - s, p0))
        return np.arange(n + 1) >= boundary

    return rejects


def likelihood_ratio(successes: Floats, failures: Floats, p0: float) -> Floats:
    """ln of the mean likelihood under the whole prior over the likelihood of p0."""
    beta = special.betaln(0.5 + successes, 0.5 + failures) - special.betaln(0.5, 0.5)
    return np.asarray(beta - successes * math.log(p0) - failures * math.log1p(-p0))


def prior_not_truncated(successes: Floats, failures: Floats, p0: float) -> Floats:
    return likelihood_ratio(successes, failures, p0)


def numerator_not_truncated(successes: Floats, failures: Floats, p0: float) -> Floats:
    return likelihood_ratio(successes, failures, p0) - math.log(special.betaincc(0.5, 0.5, p0))


def clamped_without_guard(successes: Floats, failures: Floats, p0: float) -> Floats:
    above: Floats = np.maximum(special.betaincc(0.5 + successes, 0.5 + failures, p0), 1e-300)
    return numerator_not_truncated(successes, failures, p0) + np.log(above)


def threshold_of_two_sides(successes: Floats, failures: Floats, p0: float) -> Floats:
    """Rejects at 1 / (2 alpha)."""
    return clamped_without_guard(successes, failures, p0) + math.log(2)


def planted(log_e: LogE, p0: float) -> Callable[[int], NDArray[np.bool_]]:
    def rejects(n: int) -> NDArray[np.bool_]:
        successes = np.arange(n + 1.0)
        return log_e(successes, n - successes, p0) >= -math.log(ALPHA)

    return rejects


def below(p0: float) -> list[float]:
    return [p0, p0 - 0.1, p0 / 2, 0.02]


@pytest.mark.parametrize("p0", NULLS)
def test_the_e_process_errs_at_most_alpha_at_and_below_the_null(p0: float) -> None:
    for alpha in (ALPHA, 1e-3):
        errors = probability_of_rejection(as_shipped(p0, alpha), range(1, 1001), below(p0))
        assert 0 < errors[0] <= alpha
        assert max(errors[1:]) <= errors[0]


@pytest.mark.parametrize(("p0", "expected"), [(NULLS[0], 0.0358), (NULLS[2], 0.0437)])
def test_the_e_process_errs_as_often_as_computed_elsewhere(p0: float, expected: float) -> None:
    """docs/mathematics.md, 2.2: at the null, every sample to N = 1,500."""
    assert probability_of_rejection(as_shipped(p0), range(1, 1501), [p0])[0] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("log_e", "p0", "p", "looks"),
    [
        (prior_not_truncated, NULLS[0], 0.4, range(1, 1001)),
        (prior_not_truncated, NULLS[2], 0.02, range(1, 1001)),
        (numerator_not_truncated, NULLS[0], NULLS[0], range(1, 1001)),
        (numerator_not_truncated, NULLS[2], NULLS[2], range(1, 1001)),
        (clamped_without_guard, NULLS[0], 0.02, range(100, 1501, 100)),  # it needs samples enough for an underflow
        (clamped_without_guard, NULLS[2], 0.02, range(100, 1501, 100)),
        (threshold_of_two_sides, NULLS[0], NULLS[0], range(1, 301)),
    ],
)
def test_a_planted_wrong_e_process_is_caught(log_e: LogE, p0: float, p: float, looks: range) -> None:
    assert probability_of_rejection(planted(log_e, p0), looks, [p])[0] > ALPHA
    assert probability_of_rejection(as_shipped(p0), looks, [p])[0] <= ALPHA


@pytest.mark.parametrize("p0", NULLS[:1] + NULLS[2:])
def test_peeking_at_clopper_pearson_is_caught(p0: float) -> None:
    """The negative control: the same looks, the e-process keeps alpha where a repeated fixed-n bound does not."""

    def rejects(n: int) -> NDArray[np.bool_]:
        boundary = bisect_left(range(n + 1), True, key=lambda k: clopper_pearson_lower(k, n, ALPHA) > p0)
        return np.arange(n + 1) >= boundary

    looks = range(25, 10_001, 25)
    assert probability_of_rejection(rejects, looks, [p0])[0] >= 0.25
    assert probability_of_rejection(as_shipped(p0), looks, [p0])[0] <= ALPHA


def test_a_last_look_that_is_repeated_is_caught() -> None:
    """Extending n after a miss must not use the fixed-n bound again."""

    def rejects(n: int) -> NDArray[np.bool_]:
        boundary = bisect_left(range(n + 1), True, key=lambda k: clopper_pearson_lower(k, n, ALPHA) > 0.5)
        return np.arange(n + 1) >= boundary

    assert probability_of_rejection(rejects, [500], [0.5])[0] <= ALPHA
    assert probability_of_rejection(rejects, [500, 1000, 2000, 4000], [0.5])[0] > 2 * ALPHA


def test_deciding_on_the_shards_that_are_home_first_is_caught() -> None:
    """Where samples of one class are faster, 40 blocks of 25 in the order of their counts reject a true null.

    The right order errs at most alpha of the time, so that many errors of 500 have probability below 1e-6.
    """
    generator, p0 = np.random.default_rng(7), NULLS[2]
    blocks = generator.binomial(25, p0, size=(500, 40))
    found = []
    for order in (blocks, -np.sort(-blocks, axis=1)):
        successes, n = np.cumsum(order, axis=1), np.arange(25, 1001, 25)
        found.append(
            sum(
                any(log_e_value(int(s), int(m - s), p0) >= -math.log(ALPHA) for s, m in zip(row, n, strict=True))
                for row in successes
            )
        )
    in_order, fastest_first = found
    limit = stats.binom.ppf(1 - 1e-6, 500, ALPHA)
    assert in_order <= limit < fastest_first


# -- the confidence sequence -----------------------------------------------------------------------------------------


def shows_more_than(p: float) -> Callable[[int], NDArray[np.bool_]]:
    """Returns whether a look at s of n shows a bound above p."""

    def shows(successes: int, n: int) -> bool:
        sequence = ConfidenceSequence(ALPHA, millionths=math.floor(p * 1e6 + 1e-9))
        before = sequence.millionths
        sequence.look(successes, n)
        return sequence.millionths > before

    def shown(n: int) -> NDArray[np.bool_]:
        return np.arange(n + 1) >= bisect_left(range(n + 1), True, key=lambda s: shows(s, n))

    return shown


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.7, 0.841345, 0.95])
def test_the_bounds_of_all_looks_are_true_together(p: float) -> None:
    """Where the executed law is ETA off, where it is not, and where its probability is lower still."""
    errors = probability_of_rejection(shows_more_than(p), range(1, 201), [p + ETA, p, 0.9 * p, 0.5 * p])
    assert 0 < errors[0] <= ALPHA
    assert errors == sorted(errors, reverse=True)


def test_a_bound_that_ignores_the_executed_noise_is_caught() -> None:
    """ETA off, p = 0.9999905 looks like 0.9999915: after 10^9 samples 0.999991 is shown unless ETA is taken off.

    The limits lie 1.5 and 9.1 standard deviations above and below the mean number of failures.
    """
    p, n = 0.9999905, 10**9
    failures = stats.binom(n, 1 - (p + ETA))

    def most_failures(null: float) -> int:
        """Returns the most failures with which `null` is still rejected."""
        return bisect_left(range(10_000), True, key=lambda f: log_e_value(n - f, f, null) < -math.log(ALPHA)) - 1

    sequence = ConfidenceSequence(ALPHA)
    sequence.look(n - most_failures(0.999991 + ETA), n)
    assert sequence.millionths == 999_991
    assert failures.cdf(most_failures(0.999991 + ETA)) <= ALPHA
    assert failures.cdf(most_failures(0.999991)) > ALPHA
