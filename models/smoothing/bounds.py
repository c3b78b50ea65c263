"""The arithmetic from label counts to a radius or an abstention: no tensors, no randomness, plain floats."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from scipy import special, stats

from certrad.models.types import ETA, Abstention, AlphaSplit, Certificate, LabelCounts, Outcome, SmoothingParams

PROBABILITY_DECIMALS = 6
RADIUS_DECIMALS = 4


def clopper_pearson_lower(successes: int, n: int, alpha: float) -> float:
    """The exact lower confidence bound of a binomial proportion: below it with probability at most alpha.

    It is the p that solves P(Bin(n, p) >= successes) = alpha (Clopper & Pearson 1934), and 0 without successes.
    Raises ValueError unless 0 <= successes <= n, n >= 1 and 0 < alpha < 1.
    """
    _check_binomial(successes, n, alpha)
    return 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, alpha))


def clopper_pearson_upper(successes: int, n: int, alpha: float) -> float:
    """The exact upper confidence bound of a binomial proportion: above it with probability at most alpha.

    It is the p that solves P(Bin(n, p) <= successes) = alpha (Clopper & Pearson 1934), and 1 without failures.
    Raises ValueError unless 0 <= successes <= n, n >= 1 and 0 < alpha < 1.
    """
    _check_binomial(successes, n, alpha)
    return 1.0 if successes == n else float(special.betainccinv(successes + 1, n - successes, alpha))


def radius(p_a_lower: float, p_b_upper: float, sigma: float) -> float:
    """R = sigma / 2 * (Phi^-1(p_A) - Phi^-1(p_B)), Cohen et al. 2019, theorem 1; it certifies only if R > 0.

    -inf, no radius at all, where a probability is outside the open interval (0, 1) or NaN: finitely many samples can
    support neither p_A = 1 nor p_B = 0, and an inverse normal of NaN must not reach a comparison.
    """
    if not (0 < p_a_lower < 1 and 0 < p_b_upper < 1):
        return -math.inf
    return sigma / 2 * float(special.ndtri(p_a_lower) - special.ndtri(p_b_upper))


def confidence_bounds(top: int, runner_up: int, n: int, split: AlphaSplit) -> tuple[float, float]:
    """(p_A lower, p_B upper): no radius computed from them exceeds the true one but with probability p_a + p_b.

    top: samples of n with the class, which must be chosen independently of them. `split.p_a` is spent on p_A.
    runner_up: the largest other count, `invalid` included. `split.p_b` is spent on it, and one bound serves all the
    other classes: the true runner-up j is a fixed class, the observed largest count is at least its count, and the
    Clopper-Pearson bound grows with the count, so the bound is below p_j no more often than j's own. Without a share
    for it p_B = 1 - p_A.
    """
    p_a_lower = clopper_pearson_lower(top, n, split.p_a)
    if not split.p_b:
        return p_a_lower, 1 - p_a_lower
    return p_a_lower, min(1 - p_a_lower, clopper_pearson_upper(runner_up, n, split.p_b))


def decide(selection: LabelCounts, estimation: LabelCounts, params: SmoothingParams) -> Outcome:
    """CERTIFY's decision (Cohen et al. 2019): wrong with probability at most `params.alpha` over the noise.

    The class comes from `selection` alone, its probability bounds from the independent `estimation`. The numbers are
    the published ones: eta taken off p_A and put on p_B, p_A floored and p_B raised to 6 decimals. Where no class was
    selected, `invalid` being more frequent than each class, nothing is shown about any class: p_A >= 0, p_B <= 1.
    With a target radius it is the last look of SEQ-CERTIFY and spends the shares of alpha that are left for it.
    Raises ValueError unless the counts hold exactly n0 and n samples of the same classes.
    """
    if (selection.total, estimation.total) != (params.n0, params.n):
        raise ValueError(
            f"n0={params.n0} and n={params.n} samples are required, got {selection.total} and {estimation.total}"
        )
    if len(selection.per_class) != len(estimation.per_class):
        raise ValueError(
            f"both counts need the same classes, got {len(selection.per_class)} and {len(estimation.per_class)}"
        )
    class_index = selection.top
    if class_index is None:
        return Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)
    top, runner_up = estimation.per_class[class_index], estimation.runner_up(class_index)
    p_a, p_b = confidence_bounds(top, runner_up, params.n, params.alpha_split(len(selection.per_class)))
    p_a_lower = max(0.0, floor_decimals(p_a - ETA, PROBABILITY_DECIMALS))
    p_b_upper = min(1.0, raise_decimals(p_b + ETA, PROBABILITY_DECIMALS))
    return published(class_index, p_a_lower, p_b_upper, params.sigma)


def published(class_index: int, p_a_lower: float, p_b_upper: float, sigma: float) -> Outcome:
    """What two published bounds claim: the radius that follows from them, floored to 4 decimals, if it is > 0."""
    claimed = floor_decimals(radius(p_a_lower, p_b_upper, sigma), RADIUS_DECIMALS)
    if claimed > 0:
        return Certificate(class_index=class_index, radius=claimed, p_a_lower=p_a_lower, p_b_upper=p_b_upper)
    return Abstention(reason="no_majority", p_a_lower=p_a_lower, p_b_upper=p_b_upper)


def decide_class(counts: LabelCounts, alpha: float) -> int | None:
    """PREDICT's decision (Cohen et al. 2019): the top class, or None, an abstention.

    A class other than the smoothed classifier's is returned with probability at most alpha: the two most frequent
    outcomes, `invalid` included, must differ in a two-sided binomial test (Hung & Fithian 2019).
    """
    class_index = counts.top
    if class_index is None:
        return None
    top, runner_up = counts.per_class[class_index], counts.runner_up(class_index)
    return class_index if stats.binomtest(top, top + runner_up, 0.5).pvalue <= alpha else None


def floor_decimals(value: float, decimals: int) -> float:
    """The largest number with that many decimals <= value; idempotent, because it reads the shortest repr.

    `math.floor(value * 10**decimals) / 10**decimals` is not: it takes another unit off about 1% of its own results.
    Infinities and NaN come back unchanged.
    """
    return _to_decimals(value, decimals, ROUND_FLOOR)


def raise_decimals(value: float, decimals: int) -> float:
    """The smallest number with that many decimals >= value; idempotent. Infinities and NaN come back unchanged."""
    return _to_decimals(value, decimals, ROUND_CEILING)


def _to_decimals(value: float, decimals: int, rounding: str) -> float:
    if not math.isfinite(value):
        return value
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), rounding))


def _check_binomial(successes: int, n: int, alpha: float) -> None:
    if not (0 <= successes <= n and n >= 1):
        raise ValueError(f"0 <= successes <= n and n >= 1 are required, got successes={successes!r}, n={n!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha!r}")
