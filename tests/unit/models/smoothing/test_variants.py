"""The minimum rule: no factor for the number of variants, and no variant that does not count."""

from typing import Final

import numpy as np
import pytest
from scipy import special, stats

from certrad.models.smoothing.bounds import clopper_pearson_lower
from certrad.models.smoothing.variants import VariantBounds, bound_variant, minimum
from certrad.models.types import AlphaSplit, LabelCounts

ALPHA: Final = 0.05
CELLS: Final = 129
N: Final = 40
TRUE_RADIUS: Final = 0.25
SIGMA: Final = 0.25
FULL: Final = AlphaSplit(p_a=ALPHA)


def bounds(radius: float, share: float = 1.0) -> VariantBounds:
    return VariantBounds(p_a_lower=0.9, p_b_upper=0.1, radius=radius, share=share)


def radii_by_count(split: AlphaSplit) -> np.ndarray:
    """The published radius of every count of the class among N samples."""
    return np.array([bound_variant(0, LabelCounts(per_class=(k, N - k)), split, SIGMA).radius for k in range(N + 1)])


def error_of(split: AlphaSplit) -> float:
    """The exact probability that one variant's radius is above its true one, at the p that is worst for this rule."""
    radii, largest = radii_by_count(split), 0.0
    for published in radii[radii > 0]:
        truth = published - 1e-9  # the largest true radius that this one is above
        p = float(special.ndtr(truth / SIGMA))
        largest = max(largest, float(stats.binom.pmf(np.arange(N + 1), N, p)[radii > truth].sum()))
    return largest


def test_one_variant_at_the_null_errs_with_alpha_and_not_more() -> None:
    """129 variants of which one is at the null: the minimum is too large only if that one's radius is."""
    p = ALPHA ** (1 / N)  # N of N samples have probability alpha, and claim just this p
    counts = np.arange(N + 1)
    claims_too_much = [clopper_pearson_lower(int(count), N, ALPHA) >= p * (1 - 1e-12) for count in counts]
    error_of_one = float(stats.binom.pmf(counts, N, p)[claims_too_much].sum())
    assert error_of_one == pytest.approx(ALPHA, rel=1e-6)
    best_of_all_at_the_null = 1 - (1 - error_of_one) ** CELLS
    assert best_of_all_at_the_null == pytest.approx(0.999, abs=5e-4)  # what the wrong rule, the best cell, would do
    assert error_of_one**CELLS < 1e-160  # of the minimum, if all are at the null


def test_error_of_the_published_radius_of_one_variant_is_at_most_alpha() -> None:
    """Exact, over all counts: rounding and eta only take away."""
    assert 0.9 * ALPHA < error_of(FULL) <= ALPHA


def test_minimum_of_executed_bounds_errs_with_alpha_whatever_the_number_of_variants() -> None:
    """Simulated with the executed rule: one variant just below the null, 128 with the class in every sample."""
    random = np.random.default_rng(129)
    p = ALPHA ** (1 / N)
    least = int(np.argmax(radii_by_count(FULL) > 0))
    truth = radii_by_count(FULL)[N]  # the radius that N of N samples publish; p itself shows just about that
    sure = bound_variant(0, LabelCounts(per_class=(N, 0)), FULL, SIGMA)
    draws = random.binomial(N, p, size=4_000)
    wrong_minimum = 0
    for k in draws:
        null = bound_variant(0, LabelCounts(per_class=(int(k), N - int(k))), FULL, SIGMA)
        found = minimum([null, *[sure] * (CELLS - 1)], 0.0)
        wrong_minimum += found.radius >= truth
    assert 0 < least < N
    assert stats.binomtest(wrong_minimum, len(draws), ALPHA).pvalue > 1e-3


def test_every_variant_counts_and_one_that_shows_nothing_makes_the_claim_fail() -> None:
    found = minimum([bounds(0.3), bounds(0.0, 0.4), bounds(0.5)], 0.0)
    assert (found.radius, found.held, found.counterexample) == (0.0, False, 1)


def test_smallest_radius_is_that_of_all() -> None:
    found = minimum([bounds(0.3), bounds(0.2), bounds(0.5)], 0.2)
    assert (found.radius, found.held, found.counterexample) == (0.2, True, None)


def test_radius_below_what_was_asked_for_makes_the_claim_fail() -> None:
    found = minimum([bounds(0.3), bounds(0.1999)], 0.2)
    assert (found.radius, found.held, found.counterexample) == (0.1999, False, 1)


def test_of_variants_that_show_nothing_the_one_with_fewest_samples_of_the_class_is_named() -> None:
    found = minimum([bounds(0.0, 0.4), bounds(0.0, 0.1), bounds(0.0, 0.1)], 0.0)
    assert found.counterexample == 1


def test_no_variant_has_no_minimum() -> None:
    with pytest.raises(ValueError, match="at least one"):
        minimum([], 0.0)


def test_class_is_never_the_one_that_the_samples_of_a_variant_choose() -> None:
    """Class 1 has nearly all samples, but the file's own selection samples chose class 0."""
    found = bound_variant(0, LabelCounts(per_class=(3, 97)), AlphaSplit(p_a=0.0009, p_b=0.0001), SIGMA)
    assert (found.radius, found.share) == (0.0, 0.03)


def test_samples_that_suffice_are_those_of_the_paper() -> None:
    """19, 40 and 301 samples that all agree show sigma / 2, sigma and 2 sigma at alpha = 0.001, one class alone."""
    split = AlphaSplit(p_a=0.001)
    for n, radius in ((19, 0.5), (40, 1.0), (301, 2.0)):
        shown = bound_variant(0, LabelCounts(per_class=(n, 0)), split, 1.0).radius
        before = bound_variant(0, LabelCounts(per_class=(n - 1, 0)), split, 1.0).radius
        assert before < radius - 2e-4 < shown
