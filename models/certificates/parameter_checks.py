"""Compares what a document claims about noise on the window with what follows from its labels.

Each check returns what it found, or raises ValueError with the reason of a refusal.
"""

from math import prod
from typing import Final

from mpmath import mp, mpf

from certrad.models.certificates import checks
from certrad.models.certificates.canonical import DIGEST
from certrad.models.certificates.exact import (
    MILLIONTHS,
    TEN_THOUSANDTHS,
    Bounds,
    Look,
    is_clopper_pearson,
    quantile,
    radii,
)
from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.parameters import NOTHING, parameters_text
from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.certificates.window_box_text import ShownImage
from certrad.models.types import FixedSigma, LabelCounts
from certrad.models.types.applied_window import HeaderWindow, SentWindow, TaskWindow
from certrad.models.types.parameters import CENTRE_MAX, PUBLISHED_SHARES, ParameterLimits, Shares
from certrad.models.types.total_variation import check_variation, total_variation

_DIGITS: Final = 30
_TIE: Final = 1e-12


def parameters(statement: Statement, claim: StatedParameters) -> str:
    """Checks that the claim about noise on the window follows from its labels, for the class of the document.

    Args:
        statement: The document.
        claim: Its claim about noise on the window.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    _check_window(statement, claim)
    names, alpha = statement.classifier.class_names, statement.params.alpha
    if isinstance(statement.claim, StatedCertificate):
        _check_samples(statement, claim, statement.claim.class_index)
    elif (claim.class_index, claim.key, claim.estimation, claim.limits) != (None, None, None, ()):
        raise ValueError("a document without a class must have drawn no sample with noise on the window")
    elif (claim.p_a_lower, claim.p_b_upper, claim.reach) != NOTHING:
        raise ValueError("without a sample nothing is shown")
    unit = ShownImage(window=statement.subject.window, radius=statement.radius_in_image_units).unit
    given = claim.centre, claim.width, unit, claim.class_index, claim.reach, claim.limits
    if claim.text != parameters_text(*given, names, alpha):
        raise ValueError("the text is not that of the claim")
    return f"a reach of {claim.reach} standard deviations of the noise on window and model input"


def _check_window(statement: Statement, claim: StatedParameters) -> None:
    own = statement.subject.window
    if not isinstance(own, HeaderWindow | SentWindow | TaskWindow):
        raise ValueError("noise on the window needs an image that is shown with one")
    if (claim.centre, claim.width) != (own.centre, own.width):
        raise ValueError("centre and width must be those of the window of the document")
    if not (abs(own.centre) <= CENTRE_MAX and 1 < own.width <= CENTRE_MAX):
        raise ValueError(f"noise on the window needs a centre within {CENTRE_MAX:g} of 0, and a width above 1 up to it")
    if not DIGEST.fullmatch(claim.values_sha256):
        raise ValueError("values_sha256 must be 64 hexadecimal digits")


def _check_samples(statement: Statement, claim: StatedParameters, class_index: int) -> None:
    request, drawn = statement.request, claim.estimation
    if claim.class_index != class_index:
        raise ValueError("the class under noise on the window must be that of the document")
    if drawn is None or claim.key is None or not isinstance(request.sigma, FixedSigma):
        raise ValueError("a document with a class and a fixed sigma must have drawn samples with noise on the window")
    if not DIGEST.fullmatch(claim.key) or claim.key == statement.noise.key:
        raise ValueError("the noise key of the values must be 64 hexadecimal digits, and none of another image")
    pixels = total_variation(statement.noise.law, request.sigma.sigma, prod(statement.subject.input_shape))
    check_variation(pixels, claim.centre, claim.width, claim.sigma)
    labels = parse_labels(drawn.labels)
    checks.counts(drawn, labels)
    checks.root(drawn, labels)
    if len(labels) != request.params.n:
        raise ValueError(f"there must be {request.params.n} samples, got {len(labels)}")
    counts = LabelCounts(per_class=drawn.per_class, invalid=drawn.invalid)
    look = Look(len(labels), counts.per_class[class_index], counts.runner_up(class_index))
    claimed = Bounds(checks.units(claim.p_a_lower, MILLIONTHS), checks.units(claim.p_b_upper, MILLIONTHS))
    split = request.params.alpha_split(len(statement.classifier.class_names))
    if not is_clopper_pearson(claimed, look, split):
        raise ValueError(f"{claimed} do not follow from the labels")
    if checks.units(claim.reach, TEN_THOUSANDTHS) not in radii(claimed, 1.0):
        raise ValueError(f"the reach {claim.reach} does not follow from the bounds")
    shares = PUBLISHED_SHARES if claim.reach > 0 else ()
    if len(claim.limits) != len(shares):
        raise ValueError(f"{len(shares)} parts of the ellipsoid must be stated, got {len(claim.limits)}")
    for limits, share in zip(claim.limits, shares, strict=True):
        _check_limits(claim, claimed, request.sigma.sigma, share, limits)


def _check_limits(
    claim: StatedParameters, bounds: Bounds, sigma: float, shares: Shares, limits: ParameterLimits
) -> None:
    """Checks the limits of one part: radii and the upper factor rounded down, the lower factor up."""
    with mp.workdps(_DIGITS):
        z_a, z_b = (quantile(mpf(p) / MILLIONTHS) for p in (bounds.p_a_lower, bounds.p_b_upper))
        reach = (z_a - z_b) / 2
        ln_width = mpf(repr(claim.sigma.ln_window_width)) * reach * mp.sqrt(mpf(repr(shares.width)))
        expected = {
            "centre": (mpf(repr(claim.sigma.window_centre)) * reach, shares.centre, mp.floor),
            "width_low": (mp.exp(-ln_width), shares.width, mp.ceil),
            "width_high": (mp.exp(ln_width), shares.width, mp.floor),
            "l2": (mpf(repr(sigma)) * reach, shares.l2, mp.floor),
        }
        for name, (full, share, rounded) in expected.items():
            exact = full if name.startswith("width") else full * mp.sqrt(mpf(repr(share)))
            # A limit that is a tie in double precision may fall on either side; a centre may be as large as 10^5.
            ties = (exact * (1 + tie) for tie in ((-_TIE, _TIE) if share else (0,)))
            if checks.units(getattr(limits, name), TEN_THOUSANDTHS) not in {
                int(rounded(tie * TEN_THOUSANDTHS)) for tie in ties
            }:
                raise ValueError(f"{name} {getattr(limits, name)} does not follow from the bounds")
