"""How many samples a certificate takes at least: with fewer, not even samples that all agree show a class."""

from bisect import bisect_left
from statistics import NormalDist
from typing import Final

from certrad.models.types.smoothing import ETA, N0_MIN, N_MAX, AlphaSplit, SamplingBudget

_PROBABILITY: Final = 1e-6  # the last published decimal of a bound
_RADIUS: Final = 1e-4  # the smallest published radius


def fewest_samples(budget: SamplingBudget, n_classes: int, sigma: float, radius: float = _RADIUS) -> int:
    """Returns the smallest n with which a radius can be shown at a fixed sigma; N_MAX + 1 where no n can.

    Args:
        budget: alpha, the bound, and whether there is a target radius.
        n_classes: The number K of classes.
        sigma: Noise standard deviation in pixels of [0, 1].
        radius: The radius.
    """
    split = budget.alpha_split(n_classes)
    return bisect_left(
        range(N_MAX + 1), max(radius, _RADIUS), lo=N0_MIN, key=lambda n: _largest_radius(split, n, sigma)
    )


def _largest_radius(split: AlphaSplit, n: int, sigma: float) -> float:
    # Clopper-Pearson bounds of n among n and of 0 among n have a closed form.
    p_a = split.p_a ** (1 / n)
    p_b = min(1 - p_a, 1 - split.p_b ** (1 / n)) if split.p_b else 1 - p_a
    p_a, p_b = p_a - ETA - _PROBABILITY, p_b + ETA + _PROBABILITY
    quantile = NormalDist().inv_cdf
    return sigma / 2 * (quantile(p_a) - quantile(p_b)) if p_a > p_b else 0.0
