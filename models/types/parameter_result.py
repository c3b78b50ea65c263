"""What the result of a job says about noise on the window."""

from dataclasses import dataclass

from certrad.models.types.parameters import ParameterLimits, ParameterSigma


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersResult:
    """What noise on the window shows.

    Attributes:
        sigma: Standard deviations of the noise.
        centre: Centre of the window of the file.
        width: Its width.
        samples: The samples; 0 where the result abstains.
        agreeing: Those with the class of the certificate.
        p_a_lower: Lower bound of that class's probability.
        p_b_upper: Upper bound of every other outcome's.
        reach: The reach in standard deviations of every noise; 0 where the class is not shown.
        limits: Changes of the window and of the model input that together leave the class as it is: the centre alone,
            the width alone, the model input alone, centre and width, and all three; none where it is not shown.
        text: The claim in words; to be shown wherever `reach` is.
    """

    sigma: ParameterSigma
    centre: float
    width: float
    samples: int
    agreeing: int
    p_a_lower: float
    p_b_upper: float
    reach: float
    limits: tuple[ParameterLimits, ...]
    text: str
