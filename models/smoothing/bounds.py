"""The arithmetic from label counts to a radius or an abstention: no tensors, no randomness, plain floats."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from scipy import special, stats

from certrad.models.types import ETA, Abstention, AlphaSplit, Certificate, LabelCounts, Outcome, SmoothingParams

PROBABILITY_DECIMALS: Final = 6
RADIUS_DECIMALS: Final = 4


def clopper_pearson_lower(successes: int, n: int, alpha: float) -> float:
    """Returns the exact lower confidence bound of a binomial proportion: too large with probability at most alpha.

    It is the p that solves P(Bin(n, p) >= successes) = alpha (Clopper & Pearson 1934), and 0 without successes.

    Args:
        successes: In [0, n].
        n: Trials, at least 1.
        alpha: Probability that the bound exceeds the true proportion, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.
    """
    _check_binomial(successes, n, alpha)
    return 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, alpha))


def clopper_pearson_upper(successes: int, n: int, alpha: float) -> float:
    """Returns the exact upper confidence bound of a binomial proportion: too small with probability at most alpha.

    It is the p that solves P(Bin(n, p) <= successes) = alpha (Clopper & Pearson 1934), and 1 without failures.

    Args:
        successes: In [0, n].
        n: Trials, at least 1.
        alpha: Probability that the bound is below the true proportion, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.
    """
    _check_binomial(successes, n, alpha)
    return 1.0 if successes == n else float(special.betainccinv(successes + 1, n - successes, alpha))


def radius(p_a_lower: float, p_b_upper: float, sigma: float) -> float:
    """Returns R = sigma / 2 * (Phi^-1(p_A) - Phi^-1(p_B)), Cohen et al. 2019, theorem 1; it certifies only if R > 0.

    -inf, no radius at all, where a probability is outside the open interval (0, 1) or NaN: finitely many samples can
    support neither p_A = 1 nor p_B = 0, and an inverse normal of NaN must not reach a comparison.

    Args:
        p_a_lower: Lower bound of the class's probability under noise.
        p_b_upper: Upper bound of every other class's probability under noise.
        sigma: Noise standard deviation; the radius has its unit.
    """
    if not (0 < p_a_lower < 1 and 0 < p_b_upper < 1):
        return -math.inf
    return sigma / 2 * float(special.ndtri(p_a_lower) - special.ndtri(p_b_upper))


def confidence_bounds(top: int, runner_up: int, n: int, split: AlphaSplit) -> tuple[float, float]:
    """Returns (p_A lower, p_B upper): no radius from them exceeds the true one but with probability p_a + p_b.

    One bound serves all the other classes: the true runner-up j is a fixed class, the observed largest count is at
    least its count, and the Clopper-Pearson bound grows with the count, so the bound is below p_j no more often than
    j's own.

    Args:
        top: Samples of n with the class, which must be chosen independently of them. `split.p_a` is spent on p_A.
        runner_up: The largest other count, `invalid` included. `split.p_b` is spent on p_B; without a share for it
            p_B = 1 - p_A.
        n: Samples.
        split: The shares of alpha.

    Raises:
        ValueError: A count is not in [0, n], or a share is not in (0, 1).
    """
    # Spend p_a on the class. Without a share for the runner-up, all other probabilities together are at most 1 - p_A.
    p_a_lower = clopper_pearson_lower(top, n, split.p_a)
    if not split.p_b:
        return p_a_lower, 1 - p_a_lower
    # Spend p_b on the runner-up; 1 - p_A bounds it as well, at no further share of alpha, so take the smaller one.
    return p_a_lower, min(1 - p_a_lower, clopper_pearson_upper(runner_up, n, split.p_b))


def published_bounds(top: int, runner_up: int, n: int, split: AlphaSplit) -> tuple[float, float]:
    """Returns `confidence_bounds` as they are published: eta spent, then rounded against the claim to 6 decimals.

    One executed noise draw is within total variation eta of the exact Gaussian one, so that p_A may be eta too large
    and p_B eta too small (docs/mathematics.md, 1.4).

    Args:
        top: See `confidence_bounds`.
        runner_up: See `confidence_bounds`.
        n: Samples.
        split: The shares of alpha.
    """
    p_a, p_b = confidence_bounds(top, runner_up, n, split)
    # Take eta off p_A and put it on p_B before rounding, and round each away from the claim.
    p_a_lower = max(0.0, floor_decimals(p_a - ETA, PROBABILITY_DECIMALS))
    p_b_upper = min(1.0, raise_decimals(p_b + ETA, PROBABILITY_DECIMALS))
    return p_a_lower, p_b_upper


def publish(class_index: int, p_a_lower: float, p_b_upper: float, sigma: float) -> Outcome:
    """Returns what two published bounds claim: the radius that follows, floored to 4 decimals, if it is > 0.

    Args:
        class_index: The class, from 0.
        p_a_lower: Published lower bound of its probability.
        p_b_upper: Published upper bound of every other class's probability.
        sigma: Noise standard deviation in pixels of [0, 1].
    """
    # Compute the radius from the published numbers, so that a reader gets the same one from them.
    claimed = floor_decimals(radius(p_a_lower, p_b_upper, sigma), RADIUS_DECIMALS)
    if claimed > 0:
        return Certificate(class_index=class_index, radius=claimed, p_a_lower=p_a_lower, p_b_upper=p_b_upper)
    return Abstention(reason="no_majority", p_a_lower=p_a_lower, p_b_upper=p_b_upper)


def decide(selection: LabelCounts, estimation: LabelCounts, params: SmoothingParams) -> Outcome:
    """Returns CERTIFY's decision (Cohen et al. 2019): wrong with probability at most `params.alpha` over the noise.

    With a target radius it is the last look of SEQ-CERTIFY and spends the shares of alpha that are left for it.

    Args:
        selection: Counts of exactly n0 samples.
        estimation: Counts of exactly n other samples, independent of the first.
        params: The parameters of CERTIFY.

    Raises:
        ValueError: The counts hold other numbers of samples, or are of different classes.
    """
    if (selection.total, estimation.total) != (params.n0, params.n):
        raise ValueError(
            f"counts must hold n0={params.n0} and n={params.n} samples, got {selection.total} and {estimation.total}"
        )
    if len(selection.per_class) != len(estimation.per_class):
        raise ValueError(
            f"both counts must be of the same classes, got {len(selection.per_class)} and {len(estimation.per_class)}"
        )
    # Take the guess at the top class from the selection samples alone: the estimation samples are independent of it, so
    # that bounds made for one fixed class hold. If `invalid` is on top nothing is shown about any class: p_A >= 0 and
    # p_B <= 1.
    class_index = selection.top
    if class_index is None:
        return Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)
    # Use the estimation samples to bound the probability of that class from below and that of any other outcome from
    # above. The shares of alpha add up to at most alpha (union bound), and eta pays for the executed noise.
    top, runner_up = estimation.per_class[class_index], estimation.runner_up(class_index)
    bounds = published_bounds(top, runner_up, params.n, params.alpha_split(len(selection.per_class)))
    # The radius follows from the two bounds (theorem 1); certify if it is positive, else abstain.
    return publish(class_index, *bounds, params.sigma)


def decide_class(counts: LabelCounts, alpha: float) -> int | None:
    """Returns PREDICT's decision (Cohen et al. 2019): the top class, or None, an abstention.

    A class other than the smoothed classifier's is returned with probability at most alpha: the two most frequent
    outcomes, `invalid` included, must differ in a two-sided binomial test (Hung & Fithian 2019).

    Args:
        counts: Counts of the samples.
        alpha: Error probability.
    """
    class_index = counts.top
    if class_index is None:
        return None
    top, runner_up = counts.per_class[class_index], counts.runner_up(class_index)
    return class_index if stats.binomtest(top, top + runner_up, 0.5).pvalue <= alpha else None


def floor_decimals(value: float, decimals: int) -> float:
    """Returns the largest number with that many decimals <= value; idempotent, because it reads the shortest repr.

    `math.floor(value * 10**decimals) / 10**decimals` is not: it takes another unit off about 1% of its own results.
    Infinities and NaN come back unchanged.

    Args:
        value: Any number.
        decimals: Decimals to keep.
    """
    return _to_decimals(value, decimals, ROUND_FLOOR)


def raise_decimals(value: float, decimals: int) -> float:
    """Returns the smallest number with that many decimals >= value; idempotent.

    Infinities and NaN come back unchanged.

    Args:
        value: Any number.
        decimals: Decimals to keep.
    """
    return _to_decimals(value, decimals, ROUND_CEILING)


def _to_decimals(value: float, decimals: int, rounding: str) -> float:
    if not math.isfinite(value):
        return value
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), rounding))


def _check_binomial(successes: int, n: int, alpha: float) -> None:
    if not (0 <= successes <= n and n >= 1):
        raise ValueError(f"successes and n must satisfy 0 <= successes <= n, n >= 1; got {successes!r} and {n!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha!r}")
