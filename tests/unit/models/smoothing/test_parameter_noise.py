"""Noise on the window: its known answers, its independence, and the order of noise and clip."""

import math
from typing import Final, get_args

import numpy as np
import pytest
from scipy import special

from certrad.models.smoothing.noise import Noise, ParameterStream, Stream, ziggurat
from certrad.models.smoothing.parameter_noise import (
    DrawnWindow,
    WindowNoise,
)
from certrad.models.types import ETA, NoiseLaw
from certrad.models.types.parameters import (
    CENTRE_MAX,
    LN_WINDOW_WIDTH_SIGMA_RANGE,
    WINDOW_CENTRE_SIGMA_RANGE,
    ParameterSigma,
)
from certrad.models.types.smoothing import SIGMA_RANGE
from certrad.models.types.total_variation import (
    CENTRE_QUANTUM,
    LN_WIDTH_QUANTUM,
    check_variation,
    parameter_variation,
    total_variation,
)

KEY: Final = bytes(range(32))
LAWS: Final[tuple[NoiseLaw, ...]] = get_args(NoiseLaw)
HU: Final = ParameterSigma(window_centre=50.0, ln_window_width=0.2)
SIDE: Final = 224


def noise(law: NoiseLaw = "philox-ziggurat-f64", sigma: ParameterSigma = HU, width: float = 400.0) -> WindowNoise:
    return WindowNoise(noise=Noise(KEY, law), centre=40.0, width=width, sigma=sigma)


def standardised(n: int, law: NoiseLaw = "philox-ziggurat-f64") -> np.ndarray:
    """The noise on centre and width of samples 0..n - 1 of the estimation, in standard deviations."""
    drawn = [
        ((each.centre - 40) / 50, (each.ln_width - math.log(400)) / 0.2)
        for each in noise(law).draw(Stream.ESTIMATE, range(n))
    ]
    return np.array(drawn)


@pytest.mark.parametrize(("index", "expected"), [(0, (1.25651667, 0.30520112)), (4095, (1.01837315, -0.62069166))])
def test_known_answers_of_the_stream_of_parameters(index: int, expected: tuple[float, float]) -> None:
    """Stream 2 | 4 under the key of bytes 0 to 31."""
    assert next(ziggurat(KEY, ParameterStream.ESTIMATE, range(index, index + 1), 2)) == pytest.approx(
        expected, abs=5e-9
    )
    drawn = next(noise().draw(Stream.ESTIMATE, range(index, index + 1)))
    assert (drawn.centre, drawn.ln_width) == pytest.approx(
        (40 + 50 * expected[0], math.log(400) + 0.2 * expected[1]), abs=CENTRE_QUANTUM / 2 + 1e-6
    )


@pytest.mark.parametrize("law", LAWS)
def test_each_law_has_two_parameters_of_its_own_for_each_sample(law: NoiseLaw) -> None:
    """Means of 4,096 samples are within 5/64 of 0 and variances within 5 sqrt(2)/64 of 1, but for a chance of 10^-5."""
    drawn = standardised(4096, law)
    assert np.abs(drawn.mean(axis=0)).max() < 5 / 64
    assert np.abs(drawn.var(axis=0) - 1).max() < 5 * math.sqrt(2) / 64
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 5 / 64
    again = [next(noise(law).draw(Stream.ESTIMATE, range(place, place + 1))).centre for place in (0, 77, 4095)]
    assert [(centre - 40) / 50 for centre in again] == [drawn[place, 0] for place in (0, 77, 4095)]


def test_parameters_are_fresh_for_every_sample() -> None:
    """Variance over binomial variance of 64 blocks of 64: 0.856 here; one draw for each block gives 69.3."""
    hits = (standardised(64 * 64)[:, 0] < special.ndtri(0.9)).reshape(64, 64)
    assert hits.sum(axis=1).var() / (64 * 0.09) == pytest.approx(0.856, abs=1e-3)
    one_a_block = hits[:, :1].repeat(64, axis=1).sum(axis=1)
    assert one_a_block.var() / (64 * 0.09) > 20


def test_parameters_do_not_correlate_with_the_noise_on_the_pixels() -> None:
    """Of 2,000 samples: -0.005 here, below 0.08 but with probability 4 * 10^-4 for fair draws; 1 from one stream."""
    pixels = np.array([normals[0] for normals in ziggurat(KEY, Stream.ESTIMATE, range(2000), 100)])
    assert abs(np.corrcoef(pixels, standardised(2000)[:, 0])[0, 1]) < 0.08


def test_streams_of_parameters_are_those_of_the_pixels_plus_four() -> None:
    assert {stream.name: int(stream) for stream in ParameterStream} == {"SELECT": 5, "ESTIMATE": 6, "PREDICT": 7}
    assert all(Stream[stream.name] | 4 == stream for stream in ParameterStream)
    with pytest.raises(ValueError, match="4 is not a valid"):
        next(noise().draw(Stream.ADAPT, range(1)))


def test_every_drawn_width_is_above_zero_whatever_the_noise() -> None:
    """The noise on the width is multiplicative: W (1 + s eps) would be negative for one draw in six at s = 1."""
    wild = ParameterSigma(window_centre=50.0, ln_window_width=1.0)
    drawn = list(noise(sigma=wild, width=80.0).draw(Stream.ESTIMATE, range(4096)))
    assert min(math.exp(each.ln_width) for each in drawn) > 0
    factors = [each.ln_width - math.log(80) for each in drawn]
    assert 80 * (1 + min(factors)) < 0  # what additive noise of the same draws would give


def test_drawn_windows_lie_on_the_quanta() -> None:
    for each in noise().draw(Stream.SELECT, range(64)):
        assert (each.centre / CENTRE_QUANTUM).is_integer()
        assert (each.ln_width / LN_WIDTH_QUANTUM).is_integer()


@pytest.mark.parametrize(
    ("ln_width", "width"), [(math.log(400), 400.0), (-3.0, math.exp(1 / 64)), (0.0, math.exp(1 / 64))]
)
def test_drawn_window_is_rendered_in_its_cell_and_never_as_narrow_as_a_step(ln_width: float, width: float) -> None:
    """A width up to 1 is clamped, not drawn again: the noise must not depend on the window of the image."""
    rendered = DrawnWindow(40.0, round(ln_width / LN_WIDTH_QUANTUM) * LN_WIDTH_QUANTUM).cell
    assert abs(math.log(rendered.width / width)) <= 1 / 128 + 1e-6
    assert rendered.width > 1
    assert abs(rendered.centre - 40) <= rendered.width / 128 * (1 + 1e-9)


def test_threshold_between_two_cells_belongs_to_the_upper_one() -> None:
    """Logarithms on the threshold are drawn, too: the cell is decided without the library's exponential."""
    below, at = (DrawnWindow(0.0, 6 + (1 / 128 if on else 1 / 128 - LN_WIDTH_QUANTUM)).cell.j for on in (False, True))
    assert (below, at) == (6 * 64, 6 * 64 + 1)


def test_budget_pays_for_pixels_and_window_at_every_setting_that_is_allowed() -> None:
    largest = ParameterSigma(window_centre=WINDOW_CENTRE_SIGMA_RANGE[1], ln_window_width=LN_WINDOW_WIDTH_SIGMA_RANGE[1])
    for law in LAWS:
        pixels = total_variation(law, SIGMA_RANGE[1], 3 * SIDE * SIDE)
        check_variation(pixels, CENTRE_MAX, CENTRE_MAX, largest)
    assert parameter_variation(2.0**16, 400.0, HU) == pytest.approx(6.8e-8, rel=0.01)
    with pytest.raises(ValueError, match="away from Gaussian"):
        check_variation(ETA, 40.0, 400.0, HU)


@pytest.mark.parametrize(
    ("centre", "width"), [(2 * CENTRE_MAX, 400.0), (math.nan, 400.0), (40.0, 0.0), (40.0, 2 * CENTRE_MAX)]
)
def test_windows_that_noise_cannot_be_added_to_are_refused(centre: float, width: float) -> None:
    with pytest.raises(ValueError, match="must be within"):
        WindowNoise(noise=Noise(KEY), centre=centre, width=width, sigma=HU)
