"""Samples as a certificate document states them: of the class, of a selector or its routes, and of variants."""

from dataclasses import dataclass
from typing import Literal

from certrad.models.types.renderings import Rendering
from certrad.models.types.smoothing import N0_MIN, N_MAX
from certrad.models.types.variant_lists import VariantList


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedSamples:
    """Estimation samples.

    Attributes:
        per_class: Samples of each class.
        invalid: Samples without finite logits.
        labels: The labels in index order, as text.
        merkle_root: The root of their Merkle tree, in hexadecimal.
    """

    per_class: tuple[int, ...]
    invalid: int
    labels: str
    merkle_root: str

    def __post_init__(self) -> None:
        if (total := sum(self.per_class) + self.invalid) > N_MAX:  # bounds of more samples take ever longer
            raise ValueError(f"counts must be of at most {N_MAX} samples, got {total}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedVariant:
    """One variant: its samples, and what they show of the class.

    Attributes:
        rendering: Its name.
        input_sha256: SHA-256 of its model input.
        key: Its revealed noise key, 32 bytes in hexadecimal: that of the document, of this model input.
        estimation: Its estimation samples.
        p_a_lower: Lower bound of the class's probability.
        p_b_upper: Upper bound of every other class's probability.
        radius: The L2 radius that follows from them; 0 where the class is not certified.
    """

    rendering: Rendering
    input_sha256: str
    key: str
    estimation: StatedSamples
    p_a_lower: float
    p_b_upper: float
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedVariants:
    """The same class for every listed rendering of the file, by the minimum rule.

    Attributes:
        rule: Always `minimum`: each variant is bounded at the full alpha, and the smallest radius is that of all.
        lists: What was asked for.
        asked_radius: The L2 radius that was asked for at each of them; 0 for the class only.
        n: Estimation samples of each of them.
        class_index: The class, from 0, that the selection samples of the document chose; None where it abstains.
        held: Whether every variant has at least the radius that was asked for; None where the document abstains.
        radius: The smallest radius of all variants.
        counterexample: The place of the variant that shows least, from 0; None where all held.
        rows: The variants in the order of the lists; none where the document abstains.
        text: The claim in words.
    """

    rule: Literal["minimum"]
    lists: tuple[VariantList, ...]
    asked_radius: float
    n: int
    class_index: int | None
    held: bool | None
    radius: float
    counterexample: int | None
    rows: tuple[StatedVariant, ...]
    text: str

    def __post_init__(self) -> None:
        if not self.n >= N0_MIN or len(self.rows) * self.n > N_MAX:
            raise ValueError(f"variants must have at least {N0_MIN} samples each, and at most {N_MAX} together")
