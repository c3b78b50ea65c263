"""What a document and a result say about noise on the window: their claim, and its words."""

from collections.abc import Sequence
from typing import Final

from certrad.models.certificates.labels import merkle_root, run_lengths
from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.stated_samples import StatedSamples
from certrad.models.certificates.variants import LIMITS_MEANT
from certrad.models.certificates.window_box_text import ShownImage
from certrad.models.types.applied_window import HeaderWindow, SentWindow, TaskWindow
from certrad.models.types.evidence import label_numbers
from certrad.models.types.parameter_result import ParametersResult
from certrad.models.types.parameters import ParameterLimits, ParametersEvidence, ParameterSigma

NOTHING: Final = (0.0, 1.0, 0.0)
"""p_a_lower, p_b_upper and reach where no sample was drawn."""
_NOTHING_ELSE: Final = (
    "The claim says nothing about other renderings, about a single window by itself, whether the class is right, or "
    "whether a finding is visible in such a window."
)


def state_parameters(
    sigma: ParameterSigma,
    shown: ShownImage,
    values_sha256: str,
    found: ParametersEvidence,
    class_names: Sequence[str],
    alpha: float,
) -> StatedParameters:
    """Returns what a document states about noise on the window.

    Args:
        sigma: Standard deviations of the noise.
        shown: The image, with the window of the file.
        values_sha256: SHA-256 of the values before the window.
        found: The samples, and what these show.
        class_names: The names of the classes, in order.
        alpha: Failure probability of the claim.

    Raises:
        TypeError: The file was not shown with a window.
    """
    window = shown.window
    if not isinstance(window, HeaderWindow | SentWindow | TaskWindow):
        raise TypeError("noise on the window needs an image that is shown with one")
    drawn = found.samples
    class_index, limits = (None, ()) if drawn is None else (drawn.class_index, drawn.limits)
    p_a_lower, p_b_upper, reach = NOTHING if drawn is None else (drawn.p_a_lower, drawn.p_b_upper, drawn.reach)
    return StatedParameters(
        sigma=sigma,
        lattice="1/64",
        centre=window.centre,
        width=window.width,
        values_sha256=values_sha256,
        key=None if drawn is None else drawn.key,
        class_index=class_index,
        estimation=None
        if drawn is None
        else StatedSamples(
            per_class=drawn.counts.per_class,
            invalid=drawn.counts.invalid,
            labels=run_lengths(label_numbers(drawn.labels)),
            merkle_root=merkle_root(label_numbers(drawn.labels)),
        ),
        p_a_lower=p_a_lower,
        p_b_upper=p_b_upper,
        reach=reach,
        limits=limits,
        text=parameters_text(window.centre, window.width, shown.unit, class_index, reach, limits, class_names, alpha),
    )


def parameters_text(
    centre: float,
    width: float,
    unit: str,
    class_index: int | None,
    reach: float,
    limits: Sequence[ParameterLimits],
    class_names: Sequence[str],
    alpha: float,
) -> str:
    """Returns the claim about noise on the window in words.

    Args:
        centre: Centre of the window of the file.
        width: Its width.
        unit: The unit of both, behind a space; empty where it has no name.
        class_index: The class; None where the certificate abstains.
        reach: The reach; 0 where the class is not certified.
        limits: The published parts of the ellipsoid, in the order of `PUBLISHED_SHARES`.
        class_names: The names of the classes, in order.
        alpha: Failure probability of the claim.
    """
    if class_index is None:
        return "The certificate names no class, so that no sample with noise on the window was drawn."
    name = class_names[class_index]
    if not limits:
        return f"Under noise on the window the class {name} was not shown. {LIMITS_MEANT} {_NOTHING_ELSE}"
    alone, stretched, changed, window, together = limits
    return (
        "The claim is about another classifier than that of the radius: it averages over windows near centre "
        f"{centre!r}{unit}, width {width!r}{unit}, and over noise on the model input. It keeps the class {name} for "
        f"each of these changes: (1) the centre alone by less than {alone.centre!r}{unit}; (2) the width alone within "
        f"{_percent(stretched)}; (3) the model input alone by an L2 norm below {changed.l2!r}; (4) the centre by less "
        f"than {window.centre!r}{unit} and the width within {_percent(window)}; (5) the centre by less than "
        f"{together.centre!r}{unit}, the width within {_percent(together)} and the model input by an L2 norm below "
        f"{together.l2!r}. All five follow from one reach of {reach!r} standard deviations. This claim and that of the "
        f"radius are each false with probability at most {alpha!r}, together with at most {2 * alpha!r}. "
        f"{LIMITS_MEANT} {_NOTHING_ELSE}"
    )


def parameters_result(stated: StatedParameters) -> ParametersResult:
    """Returns what the result of a job says about noise on the window: the claim without its samples.

    Args:
        stated: The claim of the document.
    """
    drawn = stated.estimation
    return ParametersResult(
        sigma=stated.sigma,
        centre=stated.centre,
        width=stated.width,
        samples=0 if drawn is None else sum(drawn.per_class) + drawn.invalid,
        agreeing=0 if drawn is None or stated.class_index is None else drawn.per_class[stated.class_index],
        p_a_lower=stated.p_a_lower,
        p_b_upper=stated.p_b_upper,
        reach=stated.reach,
        limits=stated.limits,
        text=stated.text,
    )


def _percent(limits: ParameterLimits) -> str:
    return f"{100 * limits.width_low:.2f} to {100 * limits.width_high:.2f}%"
