"""Compares what a certificate document states with what follows from the labels in it.

Each check returns what it found, or raises ValueError with the reason of a refusal. `labels` are those of the
estimation samples, in index order.
"""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from certrad.models.certificates.exact import (
    MILLIONTHS,
    NOTHING,
    TEN_THOUSANDTHS,
    Bounds,
    Look,
    is_clopper_pearson,
    is_e_process,
    radii,
)
from certrad.models.certificates.labels import merkle_root
from certrad.models.certificates.statement import StatedAbstention, StatedSamples, Statement
from certrad.models.types import ETA, AlphaSplit

_GAVE_UP: Final = ("futility", "curtailment")
_ANYTIME: Final = ("e_process", *_GAVE_UP)


def counts(stated: StatedSamples, labels: Sequence[int]) -> str:
    """Checks that the labels count to what is stated.

    Args:
        stated: The estimation samples.
        labels: Their labels.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    expected, found = Counter(dict(enumerate((*stated.per_class, stated.invalid)))), Counter(labels)
    wrong = [label for label in expected | found if expected[label] != found[label]]
    if wrong:
        label = min(wrong)
        raise ValueError(f"label {label} occurs {found[label]} times, but {expected[label]} times by the counts")
    return f"{len(labels)} labels count to per_class and invalid"


def root(stated: StatedSamples, labels: Sequence[int]) -> str:
    """Checks that the root of the Merkle tree is that of the labels.

    Args:
        stated: The estimation samples.
        labels: Their labels.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    if (found := merkle_root(labels)) != stated.merkle_root:
        raise ValueError(f"the root of these labels is {found}")
    return "the root is that of the labels"


def alpha_split(statement: Statement) -> str:
    """Checks that eta and the shares of alpha are those of the parameters.

    Args:
        statement: The document.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    expected = _split(statement)
    if (statement.params.eta, statement.params.alpha_split) != (ETA, expected):
        raise ValueError(f"eta and alpha_split must be {ETA} and {expected}")
    return f"they sum to at most alpha = {statement.params.alpha}"


def samples(statement: Statement, labels: Sequence[int]) -> str:
    """Checks that n0 and n samples were drawn, or as many as up to a stop at a look.

    Args:
        statement: The document.
        labels: The labels of the estimation samples.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    params, every, n = statement.request.params, statement.decision.look_every, len(labels)
    if statement.selection.total != params.n0 or statement.samples_used != params.n0 + n:
        raise ValueError(f"selection must have n0 = {params.n0} samples, and samples_used must be {params.n0} + {n}")
    if (every is None) != (params.target_radius is None):
        raise ValueError("look_every must be given with a target radius, and only then")
    if n == params.n:
        return f"all {n} samples"
    if every is None or statement.decision.rule == "clopper_pearson":
        raise ValueError(f"the document must hold all n = {params.n} samples, got {n}")
    if not 1 <= every <= n < params.n or n % every:
        raise ValueError(f"sampling must stop after a multiple of {every} samples below {params.n}, got {n}")
    return f"{n} samples, up to a stop at a look"


def class_index(statement: Statement) -> str:
    """Checks that the selection samples chose the class, and that the reason of an abstention is that of the rule.

    Args:
        statement: The document.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    selected, names, claim = statement.selection.top, statement.classifier.class_names, statement.claim
    gave_up = selected is not None and statement.decision.rule in _GAVE_UP
    if isinstance(claim, StatedAbstention):
        expected = "target_not_certifiable" if gave_up else "no_majority"
        if claim.reason != expected:
            raise ValueError(f"the reason must be {expected}, got {claim.reason}")
        return "the reason is that of the rule"
    if selected is None or gave_up or (claim.class_index, claim.label) != (selected, names[selected]):
        raise ValueError("the claimed class is not the one that the selection samples chose")
    return "it is the class that the selection samples chose"


def bounds(statement: Statement, labels: Sequence[int]) -> str:
    """Checks that p_a_lower and p_b_upper follow from the labels by the rule that is named.

    Args:
        statement: The document.
        labels: The labels of the estimation samples.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    selection, claimed = statement.selection, claimed_bounds(statement)
    if selection.top is None:
        if claimed != NOTHING:
            raise ValueError(f"without a selected class the bounds must be {NOTHING}, got {claimed}")
        return "nothing is shown about any class"
    looks, rule = _looks(statement, selection.top, labels), statement.decision.rule
    if rule == "clopper_pearson":
        follow = is_clopper_pearson(claimed, looks[-1], _split(statement))
    else:
        follow = rule in _ANYTIME and is_e_process(claimed, looks, _split(statement))
    if not follow:
        raise ValueError(f"{claimed} do not follow from the labels by the rule {rule}")
    return f"{claimed} follow from the labels"


def radius(statement: Statement) -> str:
    """Checks that the radius follows from p_a_lower and p_b_upper, and whether it reaches the target.

    Args:
        statement: The document.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    target, claim = statement.params.target_radius, statement.claim
    follow = radii(claimed_bounds(statement), statement.params.sigma)
    if isinstance(claim, StatedAbstention):
        limit = 1 if target is None or claim.reason == "no_majority" else target * TEN_THOUSANDTHS
        if min(follow) >= limit:
            raise ValueError("the bounds show a radius that calls for no abstention")
        return "the bounds show no radius, or one below the target"
    if not 0 < units(claim.radius, TEN_THOUSANDTHS) in follow:
        raise ValueError(
            f"{min(follow) / TEN_THOUSANDTHS:.4f} follows from the bounds, but the document states {claim.radius}"
        )
    if claim.target_reached != (None if target is None else claim.radius >= target):
        raise ValueError("target_reached must say whether the radius is at least target_radius")
    return f"{claim.radius} follows from the bounds"


def claimed_bounds(statement: Statement) -> Bounds:
    """Returns the claimed bounds in millionths.

    Args:
        statement: The document.

    Raises:
        ValueError: A bound has more than 6 decimals.
    """
    return Bounds(units(statement.claim.p_a_lower, MILLIONTHS), units(statement.claim.p_b_upper, MILLIONTHS))


def units(published: float, per_one: int) -> int:
    """Returns a published number in units of its last decimal.

    Args:
        published: The number.
        per_one: Units of 1.

    Raises:
        ValueError: It has more decimals.
    """
    scaled = Decimal(repr(published)) * per_one
    if scaled != int(scaled):
        raise ValueError(f"a number must be a multiple of 1/{per_one}, got {published!r}")
    return int(scaled)


def _split(statement: Statement) -> AlphaSplit:
    return statement.request.params.alpha_split(len(statement.classifier.class_names))


def _looks(statement: Statement, class_index: int, labels: Sequence[int]) -> list[Look]:
    """Returns the counts at every look; the last is at the end."""
    every, looks = statement.decision.look_every or len(labels), []
    seen: Counter[int] = Counter()
    runner_up = 0
    for n, label in enumerate(labels, 1):
        seen[label] += 1
        if label != class_index:
            runner_up = max(runner_up, seen[label])
        if n % every == 0 or n == len(labels):
            looks.append(Look(n, seen[class_index], runner_up))
    return looks
