"""The parameters of randomized smoothing and its outcomes."""

import math
from dataclasses import asdict, dataclass
from typing import Final, Literal

Bound = Literal["two_class", "cohen"]
NoiseLaw = Literal["philox-ziggurat-f64", "philox-boxmuller-f64", "aes128ctr-boxmuller-f64"]
Scope = Literal["input_independent", "frozen_prompt"]
AbstentionReason = Literal["no_majority", "target_not_certifiable"]
Rule = Literal["clopper_pearson", "e_process", "futility", "curtailment", "certified_selection"]

SIGMA_RANGE: Final = (0.02, 2.0)
DEFAULT_SIGMA: Final = 0.25
ALPHA_RANGE: Final = (1e-6, 0.05)
TARGET_MAX: Final = 6.0  # in sigma; published probabilities, of 6 decimals, end below 4.7 sigma
TARGET_DECIMALS: Final = 4
N0_MIN: Final = 10
N_MAX: Final = 1_000_000
BLOCK_CPU: Final = 64
BLOCK_GPU: Final = 256
"""Samples of one block, which is one batch of the encoder, on a CPU and on a GPU."""
RUNNER_UP_SHARE: Final = 0.1
"""Share of alpha spent on the bound of the runner-up at a fixed n; the rest bounds the selected class."""
ETA: Final = 1e-6
"""Bound on the total variation between one executed noise draw and the exact Gaussian: taken off p_A, put on p_B.

`certrad.models.types.total_variation` computes what is actually spent; the sampler refuses to exceed it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingBudget:
    """The number of noisy samples of one certificate, and its error probability.

    Not used by itself: `SamplingParams` leaves sigma open, `SmoothingParams` fixes it.

    Attributes:
        alpha: Failure probability of one certificate, in [1e-6, 0.05].
        n0: Selection samples, at least 10.
        n: Estimation samples, in [n0, 1,000,000].
        bound: `two_class` bounds the runner-up too; `cohen` uses p_B = 1 - p_A.
        target_radius: Stop as soon as this radius is shown, or cannot be shown; at most 4 decimals and 6 sigma. None
            uses all n samples.
    """

    alpha: float = 0.001
    n0: int = 100
    n: int = 10_000
    bound: Bound = "two_class"
    target_radius: float | None = None

    def __post_init__(self) -> None:
        if not ALPHA_RANGE[0] <= self.alpha <= ALPHA_RANGE[1]:  # also refuses NaN
            raise ValueError(f"alpha must be in [{ALPHA_RANGE[0]}, {ALPHA_RANGE[1]}], got {self.alpha!r}")
        if not N0_MIN <= self.n0 <= self.n <= N_MAX:
            raise ValueError(f"n0 and n must satisfy {N0_MIN} <= n0 <= n <= {N_MAX}, got n0={self.n0!r}, n={self.n!r}")
        if self.bound not in ("two_class", "cohen"):
            raise ValueError(f"bound must be 'two_class' or 'cohen', got {self.bound!r}")
        target = self.target_radius
        if target is not None and not (target > 0 and round(target, TARGET_DECIMALS) == target):
            raise ValueError(f"target_radius must be > 0 with at most {TARGET_DECIMALS} decimals, got {target!r}")

    def alpha_split(self, n_classes: int) -> "AlphaSplit":
        """Returns the shares of alpha: none for tests that are not made, and with two classes none for a runner-up.

        With a target radius these are the shares of SEQ-CERTIFY (docs/mathematics.md, 2.4).

        Args:
            n_classes: The number K of classes.
        """
        alpha, p_a_only = self.alpha, self.bound == "cohen" or n_classes == 2
        if self.target_radius is None:
            if p_a_only:
                return AlphaSplit(p_a=alpha)
            return AlphaSplit(p_a=(1 - RUNNER_UP_SHARE) * alpha, p_b=RUNNER_UP_SHARE * alpha)
        if p_a_only:
            return AlphaSplit(p_a_anytime=0.25 * alpha, p_a=0.75 * alpha)
        return AlphaSplit(p_a_anytime=0.125 * alpha, p_b_anytime=0.125 * alpha, p_a=0.65 * alpha, p_b=0.1 * alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingParams(SamplingBudget):
    """The parameters of CERTIFY at one noise level (Cohen et al. 2019, algorithm CERTIFY).

    Attributes:
        sigma: Noise standard deviation in model-input pixels of [0, 1], in [0.02, 2].
    """

    sigma: float = DEFAULT_SIGMA

    def __post_init__(self) -> None:
        SamplingBudget.__post_init__(self)
        check_sigma(self.sigma)
        if self.target_radius is not None and self.target_radius > TARGET_MAX * self.sigma:
            raise ValueError(f"target_radius must be in (0, {TARGET_MAX:g} sigma], got {self.target_radius!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams(SamplingBudget):
    """The parameters of a certificate without sigma, which the request gives as `FixedSigma` or `AutoSigma`."""

    def at(self, sigma: float) -> SmoothingParams:
        """Returns the parameters of CERTIFY at one noise level.

        Args:
            sigma: Noise standard deviation in model-input pixels of [0, 1].

        Raises:
            ValueError: sigma is out of range, or the target radius is above 6 sigma.
        """
        return SmoothingParams(sigma=sigma, **asdict(self))


def check_sigma(sigma: float) -> None:
    """Checks a noise standard deviation.

    Args:
        sigma: Noise standard deviation in model-input pixels of [0, 1].

    Raises:
        ValueError: sigma is not in [0.02, 2], or not a number.
    """
    if not SIGMA_RANGE[0] <= sigma <= SIGMA_RANGE[1]:  # also refuses NaN
        raise ValueError(f"sigma must be in [{SIGMA_RANGE[0]}, {SIGMA_RANGE[1]}], got {sigma!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaSplit:
    """The shares of alpha: together they are at most alpha, and each bounds the error of one bound (union bound).

    Attributes:
        p_a: Share of the Clopper-Pearson bound of the selected class, used once, at n.
        p_b: Share of the Clopper-Pearson bound of the runner-up, used once, at n.
        p_a_anytime: Share of the confidence sequence of the selected class, for all looks together.
        p_b_anytime: Share of the confidence sequence of the runner-up, for all looks together.
    """

    p_a: float
    p_b: float = 0.0
    p_a_anytime: float = 0.0
    p_b_anytime: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The rule that decided, and how often it could look at the samples.

    Attributes:
        rule: The name of the rule.
        look_every: Samples between two looks; None where all n samples were drawn and only then looked at.
    """

    rule: Rule = "clopper_pearson"
    look_every: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """Counts of the predicted classes under noise.

    Attributes:
        per_class: Samples of each of the K >= 2 classes.
        invalid: Samples without finite logits.
    """

    per_class: tuple[int, ...]
    invalid: int = 0

    def __post_init__(self) -> None:
        if len(self.per_class) < 2:
            raise ValueError(f"counts must be of at least 2 classes, got {len(self.per_class)}")
        if min(*self.per_class, self.invalid) < 0:
            raise ValueError(f"counts must be >= 0, got {self.per_class!r}, invalid={self.invalid!r}")

    @property
    def total(self) -> int:
        """Returns the number of counted samples, invalid ones included."""
        return sum(self.per_class) + self.invalid

    @property
    def top(self) -> int | None:
        """Returns the most frequent class, the lowest index among ties; None if `invalid` is more frequent."""
        best = max(self.per_class)
        return None if self.invalid > best else self.per_class.index(best)

    def runner_up(self, class_index: int) -> int:
        """Returns the largest count of another outcome than `class_index`, `invalid` included.

        Args:
            class_index: The class, from 0.
        """
        return max(*(c for i, c in enumerate(self.per_class) if i != class_index), self.invalid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The smoothed classifier answers `class_index` within `radius` (L2, strict), with probability >= 1 - alpha.

    The numbers are the published ones (docs/mathematics.md, 1.4).

    Attributes:
        class_index: The class, from 0.
        radius: L2 radius in model-input pixels of [0, 1], floored to 4 decimals, computed from the two bounds.
        p_a_lower: Lower bound of the class's probability, eta taken off, floored to 6 decimals.
        p_b_upper: Upper bound of every other class's probability, eta put on, raised to 6 decimals.
    """

    class_index: int
    radius: float
    p_a_lower: float
    p_b_upper: float

    def __post_init__(self) -> None:
        if not (self.radius > 0 and math.isfinite(self.radius)):
            raise ValueError(f"the radius of a certificate must be finite and > 0, got {self.radius!r}")
        if not 0 <= self.p_b_upper < self.p_a_lower <= 1:
            raise ValueError(
                f"bounds must satisfy 0 <= p_b_upper < p_a_lower <= 1, got {self.p_b_upper!r} and {self.p_a_lower!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """The samples do not show a class; there is no label and no radius.

    Attributes:
        reason: Why there is no class.
        p_a_lower: The published lower bound of the selected class's probability, 0 without a selected class.
        p_b_upper: The published upper bound of every other class's probability, 1 without a selected class.
    """

    reason: AbstentionReason
    p_a_lower: float
    p_b_upper: float


Outcome = Certificate | Abstention
