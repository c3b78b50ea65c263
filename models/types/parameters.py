"""Noise on the window of a grey image: what is asked for, and what its samples show."""

from dataclasses import dataclass
from typing import Final

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
