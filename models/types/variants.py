"""Finite variants of an image: what is asked for, what intake rendered, and what their samples show."""

import re
from dataclasses import dataclass
from typing import Final

from certrad.models.types.renderings import Rendering
from certrad.models.types.smoothing import N0_MIN, N_MAX, TARGET_DECIMALS, LabelCounts
from certrad.models.types.variant_lists import LISTED_MAX, HeaderWindows, VariantList, fewest_renderings
from certrad.models.types.window_boxes import WindowBox

VARIANT_RADIUS_MAX: Final = 3.0
"""The largest radius that may be asked for at a variant, in sigma; some 5,000 samples show it at alpha 0.001."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsRequest:
    """The variants that a certificate is to cover.

    Attributes:
        lists: What they are.
        radius: The L2 radius that is asked for at each of them; 0 asks for the class only.
        n: Estimation samples of each of them.
    """

    lists: tuple[VariantList, ...]
    n: int
    radius: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.lists) <= LISTED_MAX:
            raise ValueError(f"there must be 1 to {LISTED_MAX} lists of variants, got {len(self.lists)}")
        if sum(isinstance(listed, HeaderWindows) for listed in self.lists) > 1:
            raise ValueError("the windows of the header must be listed once")
        if not N0_MIN <= self.n <= N_MAX:
            raise ValueError(f"variant_n must be in {N0_MIN}..{N_MAX}, got {self.n!r}")
        if not (self.radius >= 0 and round(self.radius, TARGET_DECIMALS) == self.radius):
            raise ValueError(f"variant_radius must be >= 0 with at most {TARGET_DECIMALS} decimals")

    @property
    def fewest(self) -> int:
        """Returns how many variants there are at least; a list that needs the file to be counted counts as one."""
        return sum(map(fewest_renderings, self.lists))

    @property
    def is_open(self) -> bool:
        """Returns whether only the file says how many variants there are."""
        return any(isinstance(listed, HeaderWindows | WindowBox) for listed in self.lists)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRecord:
    """A variant that intake has rendered.

    Attributes:
        rendering: Its name.
        input_sha256: SHA-256 of its float32 model input; 64 hexadecimal digits.
    """

    rendering: Rendering
    input_sha256: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.input_sha256):
            raise ValueError(f"a digest must be 64 hexadecimal digits, got {self.input_sha256!r:.80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantEvidence:
    """The samples of one variant, and the bounds that follow from them.

    Attributes:
        variant: The variant.
        key: The noise key of its model input, in hexadecimal.
        labels: Labels of its estimation samples in index order, little-endian uint16.
        counts: Their counts.
        p_a_lower: Published lower bound of the class's probability.
        p_b_upper: Published upper bound of every other class's probability.
        radius: The L2 radius that follows, floored to 4 decimals; 0 where the class is not certified.
    """

    variant: VariantRecord
    key: str
    labels: bytes
    counts: LabelCounts
    p_a_lower: float
    p_b_upper: float
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsEvidence:
    """The samples of every variant, and what they show of one class.

    Attributes:
        class_index: The class that the selection samples of the file itself chose; None where the certificate abstains,
            so that no variant was sampled.
        rows: The variants, in the order of the lists; none where none was sampled.
        radius: The smallest radius of them; 0 without any.
        held: Whether every variant has at least the radius that was asked for; None where none was sampled.
        counterexample: The place of the variant that shows least; None where all held or none was sampled.
    """

    class_index: int | None = None
    rows: tuple[VariantEvidence, ...] = ()
    radius: float = 0.0
    held: bool | None = None
    counterexample: int | None = None

    @property
    def samples(self) -> int:
        """Returns the samples of all variants together."""
        return sum(row.counts.total for row in self.rows)
