"""Certificates keep to the true radius of a linear base classifier, which has a closed form."""

import hashlib
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.smoothing import certify, decide, decide_class, predict
from certrad.models.types import Bound, Certificate, LabelCounts, NoiseLaw, SmoothingParams
from tests.support.threshold_classifier import ThresholdClassifier

FALSE_ALARM = 1e-6
ALPHA = 0.05
TWO = ThresholdClassifier(cuts=(128,))
FOUR = ThresholdClassifier(cuts=(122, 128, 134))


def counts_of(draw: NDArray[np.int64]) -> LabelCounts:
    return LabelCounts(per_class=tuple(draw.tolist()))


def is_wrong(certificate: Certificate, classifier: ThresholdClassifier, x: float) -> bool:
    return certificate.radius > classifier.true_radius(x, certificate.class_index)


@pytest.mark.parametrize("classifier", [TWO, FOUR])
def test_the_oracle_knows_its_radius(classifier: ThresholdClassifier) -> None:
    """At the true radius the two outer classes are equally probable and the others less so: the class changes there."""
    for sigma in (0.05, 0.25, 1.0):
        for x in (0.1, 0.3, 0.49):
            first, *between, last = classifier.probabilities(x + classifier.true_radius(x, 0), sigma)
            assert first == pytest.approx(last)
            assert max(between, default=0.0) < first
        p = classifier.probabilities(0.3, sigma)
        two_class = sigma / 2 * (special.ndtri(p[0]) - special.ndtri(p[-1]))
        assert two_class == pytest.approx(classifier.true_radius(0.3, 0))


@pytest.mark.parametrize("bound", ["two_class", "cohen"])
@pytest.mark.parametrize("classifier", [TWO, FOUR])
def test_at_most_alpha_of_4000_certificates_are_wrong(classifier: ThresholdClassifier, bound: Bound) -> None:
    rng = np.random.default_rng(1902_02918)
    requests, certificates = 4600, []
    for _ in range(requests):
        sigma, x = rng.uniform(0.1, 0.5), rng.choice([0.0, 1.0]) + rng.uniform(-1, 1) * 0.35
        params = SmoothingParams(sigma=sigma, alpha=ALPHA, n0=10, n=1000, bound=bound)
        p = classifier.probabilities(x, sigma)
        outcome = decide(counts_of(rng.multinomial(10, p)), counts_of(rng.multinomial(1000, p)), params)
        if isinstance(outcome, Certificate):
            certificates.append(is_wrong(outcome, classifier, x))
    assert len(certificates) >= 4000
    assert sum(certificates) <= stats.binom.ppf(1 - FALSE_ALARM, requests, ALPHA)


def test_the_oracle_exposes_a_plug_in_estimate() -> None:
    """The radius of the observed frequency itself is too large about every other time."""
    rng = np.random.default_rng(7)
    p = TWO.probabilities(0.3, 0.25)[0]
    frequencies = np.minimum(rng.binomial(1000, p, size=4000), 999) / 1000
    wrong = 0.25 * special.ndtri(frequencies) > TWO.true_radius(0.3, 0)
    assert wrong.sum() > stats.binom.ppf(1 - FALSE_ALARM, 4000, ALPHA)


@pytest.mark.parametrize("law", get_args(NoiseLaw))
@pytest.mark.parametrize("bound", ["two_class", "cohen"])
def test_certificates_sampled_end_to_end_are_as_true(bound: Bound, law: NoiseLaw) -> None:
    rng = np.random.default_rng(11)
    params = SmoothingParams(sigma=0.25, alpha=ALPHA, n0=10, n=200, bound=bound)
    requests, certificates = 200, []
    for request in range(requests):
        x, key = rng.uniform(0.05, 0.4), hashlib.sha256(f"{bound}{law}{request}".encode()).digest()
        outcome = certify(FOUR.image(x), FOUR, params, key=key, law=law, batch_size=200).outcome
        if isinstance(outcome, Certificate):
            certificates.append(is_wrong(outcome, FOUR, x))
    assert len(certificates) >= requests / 2
    assert sum(certificates) <= stats.binom.ppf(1 - FALSE_ALARM, requests, ALPHA)


def test_predict_names_a_wrong_class_with_probability_at_most_alpha() -> None:
    """Exact, where it is worst: the other class is hardly more probable."""
    n = 200
    wrong = [k for k in range(n + 1) if decide_class(LabelCounts(per_class=(k, n - k)), ALPHA) == 0]
    assert 0 < stats.binom.pmf(wrong, n, 0.5 - 1e-9).sum() <= ALPHA


def test_predict_answers_the_class_of_the_smoothed_classifier() -> None:
    params = SmoothingParams(sigma=0.25, n=1000)
    assert predict(FOUR.image(0.3), FOUR, params, key=bytes(32)) == 0
    assert predict(FOUR.image(0.7), FOUR, params, key=bytes(32)) == 3
    assert predict(FOUR.image(0.4999), FOUR, params, key=bytes(32)) is None
