"""The minimum rule: one class for many variants of an image, each at the full alpha (docs/mathematics.md, 8)."""

from collections.abc import Sequence
from dataclasses import dataclass

from certrad.models.smoothing.bounds import publish, published_bounds
from certrad.models.types import AlphaSplit, Certificate, LabelCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantBounds:
    """The published numbers of one variant.

    Attributes:
        p_a_lower: Lower bound of the class's probability.
        p_b_upper: Upper bound of every other class's probability.
        radius: The L2 radius that follows; 0 where the class is not certified.
        share: Share of the samples that have the class.
    """

    p_a_lower: float
    p_b_upper: float
    radius: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """What all variants show together.

    Attributes:
        radius: The smallest radius.
        held: Whether it is positive, and at least what was asked for.
        counterexample: The first of the variants that show least, by radius and then by share; None where all held.
    """

    radius: float
    held: bool
    counterexample: int | None


def bound_variant(class_index: int, counts: LabelCounts, split: AlphaSplit, sigma: float) -> VariantBounds:
    """Returns the bounds of one variant at the full alpha, for a class that its own samples did not choose.

    Args:
        class_index: The class that the selection samples of the file itself chose, from 0.
        counts: Counts of the variant's estimation samples.
        split: The shares of the full alpha, not of a part of it for each variant.
        sigma: Noise standard deviation in pixels of [0, 1].
    """
    top, n = counts.per_class[class_index], counts.total
    p_a_lower, p_b_upper = published_bounds(top, counts.runner_up(class_index), n, split)
    outcome = publish(class_index, p_a_lower, p_b_upper, sigma)
    radius = outcome.radius if isinstance(outcome, Certificate) else 0.0
    return VariantBounds(p_a_lower=p_a_lower, p_b_upper=p_b_upper, radius=radius, share=top / n)


def minimum(bounds: Sequence[VariantBounds], asked: float) -> Minimum:
    """Returns the smallest radius of all variants: too large with probability at most alpha, however many there are.

    The variant of the smallest true radius is a fixed one, and the minimum is too large only if its own radius is. So
    every variant counts, those that show nothing too.

    Args:
        bounds: The bounds of every variant of the list, in order.
        asked: The radius that is asked for; 0 for the class only.

    Raises:
        ValueError: There is no variant.
    """
    if not bounds:
        raise ValueError("a minimum needs at least one variant")
    radius = min(each.radius for each in bounds)
    held = radius > 0 and radius >= asked
    least = min(range(len(bounds)), key=lambda place: (bounds[place].radius, bounds[place].share))
    return Minimum(radius=radius, held=held, counterexample=None if held else least)
