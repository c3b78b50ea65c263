"""The binomial band of the self-test has few false alarms, computed exactly, and notices a faulty device."""

import mpmath
import pytest

from certrad.models.selftest.band import FALSE_ALARM, SHIFT, bands
from certrad.models.selftest.references import read_references
from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper


def outside(probability: float, samples: int, lowest: int, highest: int) -> mpmath.mpf:
    """P(X < lowest or X > highest), X binomial, summed with 50 digits."""
    with mpmath.workdps(50):
        p = mpmath.mpf(probability)
        terms = [mpmath.binomial(samples, k) * p**k * (1 - p) ** (samples - k) for k in range(samples + 1)]
        return mpmath.fsum(terms[:lowest]) + mpmath.fsum(terms[highest + 1 :])


@pytest.mark.parametrize("samples", [64, 128, 512])
def test_false_alarms_of_all_classes_together_stay_below_the_bound(samples: int) -> None:
    """Over the noise of the run at the worst probability that the reference allows, and over the reference's own."""
    counts = read_references().facts.counts
    total, share = sum(counts), FALSE_ALARM / len(counts) / 4
    run, reference = mpmath.mpf(0), mpmath.mpf(0)
    for successes, band in zip(counts, bands(counts, samples), strict=True):
        lower = max(0.0, clopper_pearson_lower(successes, total, share) - SHIFT)
        upper = min(1.0, clopper_pearson_upper(successes, total, share) + SHIFT)
        run += max(outside(p, samples, band.lowest, band.highest) for p in (lower, upper))
        reference += 2 * share
    assert run + reference <= FALSE_ALARM
    assert run > 0


def test_a_band_is_no_wider_than_its_share_needs() -> None:
    counts, samples = [600, 400], 128
    total, share = sum(counts), FALSE_ALARM / len(counts) / 4
    for successes, band in zip(counts, bands(counts, samples), strict=True):
        lower = clopper_pearson_lower(successes, total, share) - SHIFT
        upper = clopper_pearson_upper(successes, total, share) + SHIFT
        assert outside(lower, samples, band.lowest + 1, samples) > share
        assert outside(upper, samples, 0, band.highest - 1) > share


def test_the_expected_counts_are_inside() -> None:
    counts = read_references().facts.counts
    expected = [round(512 * count / sum(counts)) for count in counts]
    assert all(number in band for number, band in zip(expected, bands(counts, 512), strict=True))


def test_a_device_that_gives_one_class_only_is_noticed_with_128_samples() -> None:
    counts = read_references().facts.counts
    for index in range(len(counts)):
        found = [128 if place == index else 0 for place in range(len(counts))]
        assert any(number not in band for number, band in zip(found, bands(counts, 128), strict=True))


def test_a_band_needs_counts_and_samples() -> None:
    with pytest.raises(ValueError, match="reference counts and samples"):
        bands([0, 0], 64)
    with pytest.raises(ValueError, match="reference counts and samples"):
        bands([1, 1], 0)
