"""Noise on the window of a grey image: what is asked for, and what its samples show."""

from dataclasses import dataclass
from typing import Final

from certrad.models.types.smoothing import LabelCounts

WINDOW_CENTRE_SIGMA_RANGE: Final = (0.01, 16_384.0)
"""Standard deviations of the centre's noise that may be asked for, in units of the image after the modality step."""
LN_WINDOW_WIDTH_SIGMA_RANGE: Final = (0.001, 1.0)
"""Standard deviations of the noise on the logarithm of the width that may be asked for."""
CENTRE_MAX: Final = float(1 << 16)
"""The largest absolute value of a centre that noise may be added to: float64 holds its noise fine enough there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSigma:
    """Standard deviations of the noise on the window: fixed numbers of the request, never derived from a header.

    A standard deviation that followed from the window itself would be that of one classifier at this window and of
    another one at the next: then nothing would be shown of a classifier that anybody uses.

    Attributes:
        window_centre: Of the centre, in units of the image after the modality step (HU for CT).
        ln_window_width: Of the natural logarithm of the width.
    """

    window_centre: float
    ln_window_width: float

    def __post_init__(self) -> None:
        for name, value, (low, high) in (
            ("window_centre", self.window_centre, WINDOW_CENTRE_SIGMA_RANGE),
            ("ln_window_width", self.ln_window_width, LN_WINDOW_WIDTH_SIGMA_RANGE),
        ):
            if not low <= value <= high:  # also refuses NaN
                raise ValueError(f"{name} must be in [{low:g}, {high:g}], got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How a part of the ellipsoid divides the square of the reach.

    Attributes:
        centre: Share of the change of the centre.
        width: Share of the change of the logarithm of the width.
        l2: Share of the L2 change of the model input.
    """

    centre: float
    width: float
    l2: float


PUBLISHED_SHARES: Final = (
    Shares(centre=1.0, width=0.0, l2=0.0),
    Shares(centre=0.0, width=1.0, l2=0.0),
    Shares(centre=0.0, width=0.0, l2=1.0),
    Shares(centre=0.5, width=0.5, l2=0.0),
    Shares(centre=0.25, width=0.25, l2=0.5),
)
"""The parts that are published: each change by itself, the window by itself, and all three together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterLimits:
    """Changes that together leave the class as it is, if each stays strictly within its limit.

    Attributes:
        centre: Limit of the change of the centre, both ways, in units of the image; floored to 4 decimals.
        width_low: Factor above which the width must stay; raised to 4 decimals.
        width_high: Factor below which the width must stay; floored to 4 decimals.
        l2: Limit of the L2 change of the model input, of each rendering; floored to 4 decimals.
    """

    centre: float
    width_low: float
    width_high: float
    l2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSamples:
    """The samples under noise on the window and on the model input, and the bounds that follow from them.

    Attributes:
        class_index: The class that the selection samples of the certificate chose.
        key: The noise key of the grey values, in hexadecimal.
        labels: Labels of the estimation samples in index order, little-endian uint16.
        counts: Their counts.
        p_a_lower: Published lower bound of the class's probability.
        p_b_upper: Published upper bound of every other outcome's.
        reach: The reach that follows, floored to 4 decimals; 0 where the class is not certified.
        limits: The parts of the ellipsoid that are published; none where the class is not certified.
    """

    class_index: int
    key: str
    labels: bytes
    counts: LabelCounts
    p_a_lower: float
    p_b_upper: float
    reach: float
    limits: tuple[ParameterLimits, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersEvidence:
    """What noise on the window shows of the class of a certificate.

    Attributes:
        samples: The samples; None where the certificate abstains, so that none was drawn.
    """

    samples: ParameterSamples | None = None

    @property
    def drawn(self) -> int:
        """Returns the number of samples."""
        return 0 if self.samples is None else self.samples.counts.total
