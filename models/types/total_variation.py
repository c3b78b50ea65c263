"""The distance of the executed noise from Gaussian noise, and how many values a certificate may add it to."""

from math import log
from typing import Final, get_args

from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.pixels import WHITE
from certrad.models.types.smoothing import ETA, NoiseLaw

_GRID: Final = WHITE
CENTRE_QUANTUM: Final = 2.0**-10
"""Step of a drawn centre, in units of the image."""
LN_WIDTH_QUANTUM: Final = 2.0**-20
"""Step of the logarithm of a drawn width."""


def total_variation(law: NoiseLaw, sigma: float, d: int) -> float:
    """Returns an upper bound on the total variation between one executed noisy image and the exact Gaussian one.

    Both lie on the grid. With u = 2^-53, per coordinate:

    - Arithmetic, every law: (x + sigma eps) * 255 in float64 errs by at most 255 u (3 sigma |eps| + 2), E |eps| < 0.8;
      the rounded value changes with at most twice that probability.
    - `philox-ziggurat-f64`: the areas of numpy's ziggurat tables are off by 8.9e-15 in all; its lattice of step
      8.7e-16 changes a rounded value with probability at most 2 * 255 sigma * 8.7e-16.
    - Both Box-Muller laws: a rounding boundary at c standard deviations is a curve in the unit square of the two
      uniforms and cuts at most (1/2 + 2 exp(-c^2/2)) 2^53 of its 2^106 lattice cells; all boundaries, c = -8.58..8.58
      in steps of 1 / (255 sigma), cut (13.6 * 255 sigma + 3) 2^53. The functions err by at most 16 u r, r the
      Box-Muller radius, E r < 1.26; this too counts twice. For let the logarithm err by k_log and sine and cosine by
      k_trig units in the last place. A last place of the logarithm is at most 2u of it, so r errs by the factor
      1 + k_log u, and by 1 + u in the root's rounding. The angle errs by 2.2u in 2 pi and by 4u in the product, sine
      and cosine by k_trig u more, and the product with r by the factor 1 + u: (8.2 + k_log + k_trig) u r in all, and
      terms of u^2. What computes the functions promises: MKL's vector library at high accuracy, and Sleef's u10
      functions, k_log = k_trig = 1; CUDA's libdevice, k_log = 1 and k_trig = 2. A product that is fused with the sum
      behind it is rounded once less.

    The words are taken as ideal. Those of AES may be: the counter blocks of one key never repeat, and a permutation of
    128 bits differs from random words over q blocks by at most q^2 2^-129, 9e-18 for 10^6 samples of d = 3 * 224 * 224;
    that AES cannot be told from a random permutation is the assumption of every use of it. Philox has passed
    statistical tests. For that d: 1.1e-7 (ziggurat) and 2.7e-7 (Box-Muller) at sigma = 1, 1.9e-7 and 5.2e-7 at
    sigma = 2.

    Args:
        law: The named law of the noise.
        sigma: Noise standard deviation in pixels of [0, 1].
        d: Pixels times channels of the image, each in [0, 1].
    """
    u = 2.0**-53
    arithmetic = 2 * _GRID * u * (3 * 0.8 * sigma + 2)
    box_muller = (13.6 * _GRID * sigma + 3) * u + 2 * _GRID * sigma * 16 * u * 1.26
    generation = {
        "philox-ziggurat-f64": 8.9e-15 + 2 * _GRID * sigma * 8.7e-16,
        "philox-boxmuller-f64": box_muller,
        "aes128ctr-boxmuller-f64": box_muller,
    }
    return d * (arithmetic + generation[law])


def most_values(sigma: float) -> int:
    """Returns the largest number of values that noise of any law may be added to: `total_variation` is within ETA.

    Args:
        sigma: Largest noise standard deviation, values in [0, 1].
    """
    return int(ETA / max(total_variation(law, sigma, 1) for law in get_args(NoiseLaw)))


def parameter_variation(centre: float, width: float, sigma: ParameterSigma) -> float:
    """Returns an upper bound on the total variation between one executed drawn window and the exact one.

    With u = 2^-53 and theta the exact parameter, theta + s eps in float64 errs by at most u (2 s |eps| + |theta|) in
    product and sum, a logarithm by u |theta| more, and a normal of any law by 16 u r, E r < 1.26. A sum rounds to
    another multiple of the quantum q only if a boundary is that near; there are 1/q boundaries in a unit, and the
    density of the sum there is at most twice its mean over a step, because s is at least 10 q. So each parameter
    differs with probability at most 4 E|error| / q.

    Args:
        centre: Centre of the window of the image.
        width: Its width.
        sigma: Standard deviations of the noise.
    """
    u = 2.0**-53
    spent = 0.0
    for theta, s, quantum in (
        (centre, sigma.window_centre, CENTRE_QUANTUM),
        (log(width), sigma.ln_window_width, LN_WIDTH_QUANTUM),
    ):
        error = u * (2 * s * 0.8 + 2 * abs(theta) + s * 16 * 1.26)
        spent += 4 * error / quantum
    return spent


def check_variation(pixels: float, centre: float, width: float, sigma: ParameterSigma) -> None:
    """Checks that noise on pixels and window together is as near to Gaussian noise as the bounds pay for.

    Args:
        pixels: What the pixels of a sample may be away, see `total_variation`.
        centre: Centre of the window of the image.
        width: Its width.
        sigma: Standard deviations of the noise on it.

    Raises:
        ValueError: It is not.
    """
    spent = pixels + parameter_variation(centre, width, sigma)
    if not spent <= ETA:
        raise ValueError(f"noise on pixels and window may be {spent:.1e} away from Gaussian, more than {ETA}")
