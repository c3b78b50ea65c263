"""What a certificate document states about noise on the window."""

from dataclasses import dataclass
from typing import Literal

from certrad.models.certificates.stated_samples import StatedSamples
from certrad.models.types.parameters import ParameterLimits, ParameterSigma


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedParameters:
    """The same class for every window near that of the file, under noise on the window and on the model input.

    Attributes:
        sigma: Standard deviations of the noise on the window.
        lattice: Always `1/64`: the lattice that every drawn window is rounded to.
        centre: Centre of the window of the file.
        width: Its width.
        values_sha256: SHA-256 of the values before the window, and of how a window shows them.
        key: The revealed noise key of these values, 32 bytes in hexadecimal; None where no sample was drawn.
        class_index: The class, from 0, that the selection samples of the document chose; None where it abstains.
        estimation: The estimation samples; None where the document abstains.
        p_a_lower: Lower bound of the class's probability under all noise.
        p_b_upper: Upper bound of every other outcome's.
        reach: The reach in standard deviations of every noise; 0 where the class is not certified.
        limits: Changes that together leave the class as it is; none where it is not certified.
        text: The claim in words.
    """

    sigma: ParameterSigma
    lattice: Literal["1/64"]
    centre: float
    width: float
    values_sha256: str
    key: str | None
    class_index: int | None
    estimation: StatedSamples | None
    p_a_lower: float
    p_b_upper: float
    reach: float
    limits: tuple[ParameterLimits, ...]
    text: str
