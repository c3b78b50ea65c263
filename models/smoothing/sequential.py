"""SEQ-CERTIFY: stop as soon as a target radius is shown, or cannot be, at the same alpha (docs/mathematics.md, 2).

Everything here is a function of label counts. A test martingale starts at 1, is never negative, and one more sample
does not raise its mean where the null hypothesis is true; then it ever reaches 1 / alpha with probability at most alpha
(Ville's inequality), so one may look at it after any number of samples, and stop. The probabilities that it has not
rejected are a confidence sequence: one bound for every look, all of them true together.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from scipy import special

from certrad.models.smoothing.bounds import (
    PROBABILITY_DECIMALS,
    clopper_pearson_lower,
    clopper_pearson_upper,
    confidence_bounds,
    decide,
    publish,
    radius,
)
from certrad.models.types import ETA, Abstention, Certificate, Decision, LabelCounts, Outcome, Rule, SmoothingParams

FUTILITY: Final = 0.001
"""How improbable the samples so far must be where the target can still be reached. Costs power, never soundness."""

_MILLIONTHS: Final = 10**PROBABILITY_DECIMALS
_PRIOR: Final = 0.5  # both parameters of the Beta prior: Jeffreys'
_LOG_PRIOR: Final = float(special.betaln(_PRIOR, _PRIOR))


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialDecision:
    """The decision after a look.

    Attributes:
        outcome: A certificate, or an abstention.
        decision: The rule that decided.
    """

    outcome: Outcome
    decision: Decision


def log_e_value(successes: int, failures: int, p0: float) -> float:
    """Returns the logarithm of M, the test martingale against "a success has probability at most p0".

    M = B(a+S, b+F) Ic(p0; a+S, b+F) / (B(a, b) Ic(p0; a, b) p0^S (1-p0)^F), a = b = 1/2, Ic = 1 - I the complement of
    the regularized incomplete beta function: the mean likelihood ratio of q against p0, q > p0 drawn from the prior
    Beta(1/2, 1/2) (docs/mathematics.md, 2.1). Under every probability <= p0 a sample multiplies each of these ratios by
    at most 1 in the mean, so M is a supermartingale under the whole null hypothesis.

    -inf where S <= n p0. There M < 1, for the ratio falls in q > p0 >= S / n; and there alone Ic(p0; a+S, b+F) can
    underflow: elsewhere it is the weight that Beta(a+S, b+F) has above a point below S / n.

    Args:
        successes: S.
        failures: F.
        p0: The null hypothesis, in (0, 1).

    Raises:
        ValueError: p0 is not in (0, 1).
    """
    if not 0 < p0 < 1:
        raise ValueError(f"p0 must be in (0, 1), got {p0!r}")
    if successes <= (successes + failures) * p0:
        return -math.inf
    a, b = _PRIOR + successes, _PRIOR + failures
    return float(
        special.betaln(a, b)
        + math.log(special.betaincc(a, b, p0))
        - _LOG_PRIOR
        - math.log(special.betaincc(_PRIOR, _PRIOR, p0))
        - successes * math.log(p0)
        - failures * math.log1p(-p0)
    )


@dataclass(slots=True)
class ConfidenceSequence:
    """Lower bounds of the probability of a success, after every look: any of them too large w.p. <= alpha < 1 / e.

    The bound after n samples is the largest published p of which M rejects "the probability is at most p + ETA": the
    executed noise is within ETA of the exact one (docs/mathematics.md, 6.3). The largest of all looks is as true as
    each: let p be the smallest that is too large. Its null is true, and a look that shows p or more rejects it, which
    happens at any look with probability at most alpha. So no p has to be singled out beforehand.

    At one look the nulls with M >= 1 / alpha are the first ones, so bisection finds them: M falls in p0 wherever it is
    at least e. For ln M can rise only where S - n p0 <= p0 (1-p0) f / Ic(p0; a, b) <= sqrt(p0) / 2, f the prior
    density at p0. There ln M is at most the largest log likelihood ratio, which is at most (S - n p0)^2 /
    (n p0 (1-p0)) <= 1 / (4 n (1-p0)): less than 1 unless n (1-p0) <= 1/4, and then S = n and M <= p0^-n <= 4/3.

    Attributes:
        alpha: Error probability of all looks together.
        millionths: The largest bound so far, in units of a published probability; 0 before the first.
    """

    alpha: float
    millionths: int = 0

    def look(self, successes: int, n: int) -> None:
        """Takes the number of successes among the first n samples into account.

        Args:
            successes: In [0, n].
            n: Samples so far.
        """
        # A null "p at most p0" is rejected once its martingale reaches 1 / alpha (Ville). Bisect for the first null
        # that is not rejected, from the bound of earlier looks on: a null once rejected stays rejected. Testing at
        # p + ETA pays for the executed noise.
        threshold = -math.log(self.alpha)
        first_kept = bisect_left(
            range(_MILLIONTHS),
            True,
            lo=self.millionths + 1,
            hi=math.floor((1 - ETA) * _MILLIONTHS),  # nulls below 1
            key=lambda p: log_e_value(successes, n - successes, p / _MILLIONTHS + ETA) < threshold,
        )
        self.millionths = first_kept - 1


class SequentialTest:
    """SEQ-CERTIFY for one image: wrong with probability at most alpha, whenever it stops (docs/mathematics.md, 2.4).

    Two confidence sequences, L of the selected class A and U = 1 - that of "any but the runner-up", claim p_a_lower = L
    and p_b_upper = min(1 - L, U) at every look. With j the runner-up in truth, the radius is too large only if L > p_A
    or U < p_j at some look. Which class j is nobody knows, but it is fixed, and M of "any but the most frequent other
    outcome", `invalid` included, is never above that of "any but j", for M grows with the successes. So each sequence
    is wrong with probability at most its own share in `params.alpha_split`, as each Clopper-Pearson bound is at n, and
    together the shares are alpha at most. That holds for all radii and looks at once. Giving up early is never wrong,
    for it claims nothing (docs/mathematics.md, 2.5).
    """

    def __init__(self, params: SmoothingParams, selection: LabelCounts, *, look_every: int) -> None:
        """Begins the test.

        Args:
            params: The parameters of CERTIFY, with a target radius.
            selection: Counts of the n0 selection samples.
            look_every: Samples between two looks, for the record.

        Raises:
            ValueError: There is no target radius, or `selection` holds another number of samples.
        """
        if params.target_radius is None or selection.total != params.n0:
            raise ValueError(
                f"params must have a target radius and selection {params.n0} samples, "
                f"got {params.target_radius!r} and {selection.total}"
            )
        self._params = params
        self._selection = selection
        self._class_index = selection.top
        self._target = params.target_radius
        self._look_every = look_every
        self._split = params.alpha_split(len(selection.per_class))
        self._top = ConfidenceSequence(self._split.p_a_anytime)
        self._others = ConfidenceSequence(self._split.p_b_anytime)

    @property
    def running_radius(self) -> float:
        """Returns the largest radius that was shown so far, 0 before: never above the true one but w.p. <= alpha."""
        return 0.0 if self.shown is None else _radius(self.shown)

    @property
    def shown(self) -> Outcome | None:
        """Returns what the confidence sequences claim so far; None where no class was selected."""
        return None if self._class_index is None else self._shown(self._class_index)

    def look(self, counts: LabelCounts) -> SequentialDecision | None:
        """Returns the decision after samples 0..counts.total - 1, or None to go on; at n there is one.

        Args:
            counts: Counts of the contiguous prefix of the estimation samples.
        """
        class_index = self._class_index
        if class_index is None:
            return self._verdict(Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0), "curtailment")
        # Move both confidence sequences on: the lower bounds of the class and of "any but the runner-up".
        self._top.look(counts.per_class[class_index], counts.total)
        if self._split.p_b_anytime:
            self._others.look(counts.total - counts.runner_up(class_index), counts.total)
        shown = self._shown(class_index)
        # At n spend what is left of alpha on Clopper-Pearson bounds as well, and take the larger radius: a union
        # bound covers both.
        if counts.total == self._params.n:
            fixed = decide(self._selection, counts, self._params)
            if _radius(shown) > _radius(fixed):
                return self._verdict(shown, "e_process")
            return self._verdict(fixed, "clopper_pearson")
        # Before n stop as soon as the sequences show the target. They are true at all looks together, so that stopping
        # at a look that was not fixed before costs nothing.
        if _radius(shown) >= self._target:
            return self._verdict(shown, "e_process")
        # Or stop because the target cannot be reached any more: an abstention claims nothing, so it is never wrong.
        return self._give_up(counts, class_index, shown)

    def _shown(self, class_index: int) -> Outcome:
        """Returns the claim of the confidence sequences so far."""
        # U bounds the runner-up from above; so does 1 - L, for the other classes share what the class leaves. Take the
        # smaller one.
        p_a = self._top.millionths
        not_p_b = max(p_a, self._others.millionths)
        return publish(class_index, p_a / _MILLIONTHS, (_MILLIONTHS - not_p_b) / _MILLIONTHS, self._params.sigma)

    def _give_up(self, counts: LabelCounts, class_index: int, shown: Outcome) -> SequentialDecision | None:
        rule: Rule
        if self._is_out_of_reach(counts, class_index):
            rule = "curtailment"
        elif self._is_futile(counts, class_index):
            rule = "futility"
        else:
            return None
        outcome = Abstention(reason="target_not_certifiable", p_a_lower=shown.p_a_lower, p_b_upper=shown.p_b_upper)
        return self._verdict(outcome, rule)

    def _is_futile(self, counts: LabelCounts, class_index: int) -> bool:
        """Returns whether the target would be missed at n even with the best further samples that are plausible."""
        top, runner_up, n = counts.per_class[class_index], counts.runner_up(class_index), counts.total
        # Take the upper confidence limit of the class and the lower one of the runner-up for the samples to come: if
        # the target is missed even so, stop. A wrong stop costs power, never soundness.
        to_come = self._params.n - n
        at_best = clopper_pearson_upper(top, n, FUTILITY), clopper_pearson_lower(runner_up, n, FUTILITY)
        return self._misses(top + round(to_come * at_best[0]), runner_up + round(to_come * at_best[1]))

    def _is_out_of_reach(self, counts: LabelCounts, class_index: int) -> bool:
        """Returns whether the target would be missed at n even if all further samples were of the selected class."""
        to_come = self._params.n - counts.total
        return self._misses(counts.per_class[class_index] + to_come, counts.runner_up(class_index))

    def _misses(self, top: int, runner_up: int) -> bool:
        """Returns whether the target is missed with these counts at n."""
        p_a_lower, p_b_upper = confidence_bounds(top, runner_up, self._params.n, self._split)
        return radius(p_a_lower, p_b_upper, self._params.sigma) < self._target

    def _verdict(self, outcome: Outcome, rule: Rule) -> SequentialDecision:
        return SequentialDecision(outcome=outcome, decision=Decision(rule=rule, look_every=self._look_every))


def _radius(outcome: Outcome) -> float:
    return outcome.radius if isinstance(outcome, Certificate) else 0.0
