"""Both noise laws are standard normal and independent across coordinates, samples, streams and keys."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.smoothing.noise import Noise, Stream
from certrad.models.types import NoiseLaw

FALSE_ALARM = 1e-7  # one comparison; about twenty of them a law
WITHIN = float(special.ndtri(1 - FALSE_ALARM / 2))  # in standard deviations
KEY = bytes(range(32))
LAWS: tuple[NoiseLaw, ...] = get_args(NoiseLaw)
SAMPLES, D = 20, 50_000


def draw(law: NoiseLaw, stream: Stream = Stream.ESTIMATE, key: bytes = KEY) -> NDArray[np.float64]:
    return np.stack([Noise(key, law).standard_normal(stream, index, (D,)) for index in range(SAMPLES)])


@pytest.mark.parametrize("law", LAWS)
def test_moments_are_those_of_the_standard_normal(law: NoiseLaw) -> None:
    normals = draw(law).ravel()
    variances = {1: 1, 2: 2, 3: 15, 4: 96, 6: 10_170}  # of the powers of a standard normal
    means = {1: 0, 2: 1, 3: 0, 4: 3, 6: 15}
    for power, variance in variances.items():
        deviation = (normals**power).mean() - means[power]
        assert abs(deviation) < WITHIN * np.sqrt(variance / normals.size), power


@pytest.mark.parametrize("law", LAWS)
def test_the_distribution_function_is_normal(law: NoiseLaw) -> None:
    assert stats.kstest(draw(law).ravel(), special.ndtr).pvalue > FALSE_ALARM


@pytest.mark.parametrize("law", LAWS)
def test_the_tails_are_as_frequent_as_they_should_be(law: NoiseLaw) -> None:
    normals = draw(law).ravel()
    for z in (3.0, 4.0):
        p = 2 * special.ndtr(-z)
        low, high = stats.binom.ppf([FALSE_ALARM, 1 - FALSE_ALARM], normals.size, p)
        assert low <= np.count_nonzero(np.abs(normals) > z) <= high


def assert_uncorrelated(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    """Checks that neither the values nor their squares are correlated."""
    size = a.size
    assert abs((a * b).sum()) < WITHIN * np.sqrt(size)
    assert abs(((a**2 - 1) * (b**2 - 1)).sum()) < WITHIN * 2 * np.sqrt(size)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("lag", [1, 2, 3, 4])
def test_neighbouring_coordinates_are_uncorrelated(law: NoiseLaw, lag: int) -> None:
    normals = draw(law)
    assert_uncorrelated(normals[:, :-lag].ravel(), normals[:, lag:].ravel())


@pytest.mark.parametrize("law", LAWS)
def test_neighbouring_samples_are_uncorrelated(law: NoiseLaw) -> None:
    normals = draw(law)
    assert_uncorrelated(normals[:-1].ravel(), normals[1:].ravel())


@pytest.mark.parametrize("law", LAWS)
def test_streams_and_keys_are_uncorrelated(law: NoiseLaw) -> None:
    normals = draw(law).ravel()
    assert_uncorrelated(normals, draw(law, Stream.SELECT).ravel())
    assert_uncorrelated(normals, draw(law, key=KEY[::-1]).ravel())
