"""Finite variants of an image: what is asked for, what intake rendered, and what their samples show."""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from certrad.models.types.renderings import Rendering
from certrad.models.types.smoothing import N0_MIN, N_MAX, TARGET_DECIMALS, LabelCounts
from certrad.models.types.variant_lists import LISTED_MAX, HeaderWindows, VariantList, fewest_renderings
from certrad.models.types.window_boxes import WindowBox

VARIANT_RADIUS_MAX: Final = 3.0
"""The largest radius that may be asked for at a variant, in sigma; some 5,000 samples show it at alpha 0.001."""
VariantsBase = Literal["smoothed", "unsmoothed"]
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsRequest:
    """The variants that a certificate is to cover.

    Attributes:
        lists: What they are.
        radius: The L2 radius that is asked for at each of them; 0 asks for the class only.
        n: Estimation samples of each of them; 1 without noise, which is one answer.
        base: Whether the smoothed classifier is asked, or the base classifier without noise, which has no radius.
    """

    lists: tuple[VariantList, ...]
    n: int
    radius: float = 0.0
    base: VariantsBase = field(default="smoothed", metadata={"exclude_if": lambda base: base == "smoothed"})

    def __post_init__(self) -> None:
        if not 1 <= len(self.lists) <= LISTED_MAX:
            raise ValueError(f"there must be 1 to {LISTED_MAX} lists of variants, got {len(self.lists)}")
        if sum(isinstance(listed, HeaderWindows) for listed in self.lists) > 1:
            raise ValueError("the windows of the header must be listed once")
        if self.base == "unsmoothed":
            if (self.n, self.radius) != (1, 0.0):
                raise ValueError("without noise each variant has one answer, and no radius")
        elif not N0_MIN <= self.n <= N_MAX:
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
    def count(self) -> int:
        """Returns how many variants were tried."""
        return len(self.rows)

    @property
    def samples(self) -> int:
        """Returns the samples of all variants together."""
        return sum(row.counts.total for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsmoothedEvidence:
    """The answers of the base classifier, without noise, for every variant.

    Attributes:
        class_index: The class that the selection samples of the file itself chose; None where the certificate abstains,
            so that no variant was tried.
        variants: The variants, in the order of the lists; none where none was tried.
        labels: The answer for each of them, from 0; the number of classes for none.
    """

    class_index: int | None = None
    variants: tuple[VariantRecord, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Returns how many variants were tried."""
        return len(self.variants)

    @property
    def samples(self) -> int:
        """Returns the samples of all variants together: one pass each."""
        return len(self.variants)

    @property
    def counterexample(self) -> int | None:
        """Returns the place of the first variant with another answer; None where there is none."""
        return next((place for place, label in enumerate(self.labels) if label != self.class_index), None)


VariantsFound = VariantsEvidence | UnsmoothedEvidence
"""What an engine found of the variants of a job: their samples, or the answers for them without noise."""
