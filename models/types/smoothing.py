"""What is asked of randomized smoothing and what it answers."""

import math
from dataclasses import dataclass
from typing import Literal

Bound = Literal["two_class", "cohen"]
NoiseLaw = Literal["philox-ziggurat-f64", "philox-boxmuller-f64"]
Scope = Literal["input_independent", "frozen_prompt"]
AbstentionReason = Literal["no_majority", "target_not_certifiable"]
Rule = Literal["clopper_pearson", "e_process", "futility", "curtailment", "certified_selection"]

SIGMA_RANGE = (0.02, 2.0)
ALPHA_RANGE = (1e-6, 0.05)
TARGET_MAX = 6.0  # in sigma; published probabilities, of 6 decimals, end below 4.7 sigma
TARGET_DECIMALS = 4
N0_MIN = 10
N_MAX = 1_000_000
BLOCK_CPU = 64
BLOCK_GPU = 256
"""Samples of one block, which is one batch of the encoder, on a CPU and on a GPU."""
RUNNER_UP_SHARE = 0.1
"""Share of alpha spent on the bound of the runner-up at a fixed n; the rest bounds the selected class."""
ETA = 1e-6
"""Bound on the total variation between one executed noise draw and the exact Gaussian: taken off p_A, put on p_B.

`certrad.models.smoothing.noise.total_variation` computes what is actually spent; the sampler refuses to exceed it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingParams:
    """The parameters of CERTIFY (Cohen et al. 2019).

    sigma: noise standard deviation, in model-input pixels of [0, 1]; 0.02..2.
    alpha: failure probability of one certificate; 1e-6..0.05.
    n0, n: selection and estimation samples; 10 <= n0 <= n <= 1,000,000.
    bound: `two_class` (runner-up bounded too) or `cohen` (p_B = 1 - p_A).
    target_radius: stop as soon as this radius is shown, or cannot be; at most 4 decimals and 6 sigma. None: use all n.
    """

    sigma: float = 0.25
    alpha: float = 0.001
    n0: int = 100
    n: int = 10_000
    bound: Bound = "two_class"
    target_radius: float | None = None

    def __post_init__(self) -> None:
        if not SIGMA_RANGE[0] <= self.sigma <= SIGMA_RANGE[1]:  # also refuses NaN
            raise ValueError(f"sigma must be in [{SIGMA_RANGE[0]}, {SIGMA_RANGE[1]}], got {self.sigma!r}")
        if not ALPHA_RANGE[0] <= self.alpha <= ALPHA_RANGE[1]:
            raise ValueError(f"alpha must be in [{ALPHA_RANGE[0]}, {ALPHA_RANGE[1]}], got {self.alpha!r}")
        if not N0_MIN <= self.n0 <= self.n <= N_MAX:
            raise ValueError(f"{N0_MIN} <= n0 <= n <= {N_MAX} is required, got n0={self.n0!r}, n={self.n!r}")
        if self.bound not in ("two_class", "cohen"):
            raise ValueError(f"bound must be 'two_class' or 'cohen', got {self.bound!r}")
        self._check_target()

    def _check_target(self) -> None:
        target = self.target_radius
        if target is None:
            return
        if not 0 < target <= TARGET_MAX * self.sigma:
            raise ValueError(f"target_radius must be in (0, {TARGET_MAX:g} sigma], got {target!r}")
        if round(target, TARGET_DECIMALS) != target:
            raise ValueError(f"target_radius must have at most {TARGET_DECIMALS} decimals, got {target!r}")

    def alpha_split(self, n_classes: int) -> "AlphaSplit":
        """How alpha is spent: nothing on tests that are not made, and on two classes nothing on a runner-up.

        With a target radius, the shares of SEQ-CERTIFY (docs/mathematics.md, 2.4).
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
class AlphaSplit:
    """The shares of alpha: together they are at most alpha, and each bounds the error of one bound (union bound).

    p_a, p_b: of the Clopper-Pearson bounds of the selected class and of the runner-up, used once, at n.
    p_a_anytime, p_b_anytime: of their confidence sequences, each for all looks together.
    """

    p_a: float
    p_b: float = 0.0
    p_a_anytime: float = 0.0
    p_b_anytime: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which rule decided, and after how many samples it could have looked.

    look_every: samples between two looks; None where all n samples were drawn and only then looked at.
    """

    rule: Rule = "clopper_pearson"
    look_every: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """How often each class, and `invalid` (non-finite logits), was predicted under noise."""

    per_class: tuple[int, ...]
    invalid: int = 0

    def __post_init__(self) -> None:
        if len(self.per_class) < 2:
            raise ValueError(f"at least 2 classes are required, got {len(self.per_class)}")
        if min(*self.per_class, self.invalid) < 0:
            raise ValueError(f"counts must be >= 0, got {self.per_class!r}, invalid={self.invalid!r}")

    @property
    def total(self) -> int:
        """The number of samples counted, invalid ones included."""
        return sum(self.per_class) + self.invalid

    @property
    def top(self) -> int | None:
        """The most frequent class, the lowest index among ties; None if `invalid` is more frequent than each class."""
        best = max(self.per_class)
        return None if self.invalid > best else self.per_class.index(best)

    def runner_up(self, class_index: int) -> int:
        """The largest count among every other outcome than `class_index`, `invalid` included."""
        return max(*(c for i, c in enumerate(self.per_class) if i != class_index), self.invalid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The smoothed classifier answers `class_index` within `radius` (L2, strict), with probability >= 1 - alpha.

    The numbers are the published ones: p_a_lower floored and p_b_upper raised to 6 decimals after eta was taken off
    and put on, radius floored to 4 decimals and computed from the two (docs/mathematics.md, 1.4).
    """

    class_index: int
    radius: float
    p_a_lower: float
    p_b_upper: float

    def __post_init__(self) -> None:
        if not (self.radius > 0 and math.isfinite(self.radius)):
            raise ValueError(f"a certificate needs a finite radius > 0, got {self.radius!r}")
        if not 0 <= self.p_b_upper < self.p_a_lower <= 1:
            raise ValueError(f"0 <= p_b_upper < p_a_lower <= 1 is required, got {self.p_b_upper!r}, {self.p_a_lower!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """The samples do not show a class; there is no label and no radius."""

    reason: AbstentionReason
    p_a_lower: float
    p_b_upper: float


Outcome = Certificate | Abstention
