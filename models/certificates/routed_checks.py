"""Compares what a certificate with automatic sigma states with what follows from its labels; as in `checks`."""

from collections.abc import Sequence

from certrad.models.certificates.checks import class_index, counts, root, units
from certrad.models.certificates.exact import (
    MILLIONTHS,
    NOTHING,
    TEN_THOUSANDTHS,
    Bounds,
    Look,
    is_clopper_pearson,
    radii,
)
from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.stated_samples import StatedSamples
from certrad.models.certificates.statement import StatedAbstention, StatedRouting, Statement
from certrad.models.types import ETA, AlphaSplit, Decision
from certrad.models.types.routing import RoutingSplit, routing_split

Drawn = Sequence[tuple[StatedSamples, Sequence[int]]]
"""Every set of estimation samples, and its labels in index order."""


def drawn(statement: Statement, routing: StatedRouting) -> Drawn:
    """Returns every set of estimation samples with its labels.

    Args:
        statement: The document.
        routing: Its choice of sigma.

    Raises:
        ValueError: Outcomes, counts or samples are not where they belong.
    """
    settings, outcomes = routing.settings, routing.outcomes
    if tuple(outcome.sigma for outcome in outcomes) != (*settings.sigmas, None):
        raise ValueError("outcomes must be one for every sigma, and a last one for `invalid`")
    routes = {len(settings.sigmas), len(routing.selection.per_class), len(routing.estimation.per_class)}
    if len(routes) != 1 or routing.route >= len(settings.sigmas):
        raise ValueError(f"the route must be one of {len(settings.sigmas)}, and counts must be of as many")
    if outcomes[routing.route].estimation is not None or outcomes[-1].estimation is not None:
        raise ValueError("the selected route and `invalid` must have no samples of their own among the outcomes")
    others = [outcome.estimation for outcome in routing.outcomes if outcome.estimation is not None]
    if any(len(samples.per_class) != len(statement.classifier.class_names) for samples in others):
        raise ValueError("the counts of every route must be of the same classes")
    return [(samples, parse_labels(samples.labels)) for samples in (statement.estimation, routing.estimation, *others)]


def all_counts(sets: Drawn) -> str:
    """Checks that all labels count to what is stated.

    Args:
        sets: See `drawn`.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    return "; ".join(counts(*each) for each in sets)


def all_roots(sets: Drawn) -> str:
    """Checks that the root of every Merkle tree is that of its labels.

    Args:
        sets: See `drawn`.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    for each in sets:
        root(*each)
    return "the roots are those of the labels"


def alpha_split(statement: Statement, routing: StatedRouting) -> str:
    """Checks that eta and the shares of alpha, the selector's included, are those of the parameters.

    Args:
        statement: The document.
        routing: Its choice of sigma.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    split, shares = _split(statement), routing.alpha_split
    stated = statement.params.eta, statement.params.alpha_split, shares.p_a, shares.p_b
    if stated != (ETA, split.classes, split.selector.p_a, split.selector.p_b):
        raise ValueError(f"eta and the shares of alpha must be {ETA} and {split}")
    return f"they sum to at most alpha = {statement.params.alpha}"


def samples(statement: Statement, routing: StatedRouting, sets: Drawn) -> str:
    """Checks that every set of selection and of estimation samples is complete, and that no other was drawn.

    Args:
        statement: The document.
        routing: Its choice of sigma.
        sets: See `drawn`.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    n0, n = statement.params.n0, statement.params.n
    if statement.decision != Decision(rule="certified_selection"):
        raise ValueError("the decision must be by certified selection, without looks")
    if {statement.selection.total, routing.selection.total} != {n0} or {len(labels) for _, labels in sets} != {n}:
        raise ValueError(f"selector and routes must have n0 = {n0} selection and n = {n} estimation samples each")
    if statement.samples_used != 2 * n0 + len(sets) * n:
        raise ValueError(f"samples_used must be {2 * n0 + len(sets) * n}, got {statement.samples_used}")
    return f"all {n} samples of the selector and of {len(sets) - 1} routes"


def route(statement: Statement, routing: StatedRouting) -> str:
    """Checks that the selection samples chose the route, and its classifier the class.

    Args:
        statement: The document.
        routing: Its choice of sigma.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    votes, sigmas = routing.selection.per_class, routing.settings.sigmas
    if routing.route != votes.index(max(votes)):
        raise ValueError("the stated route is not the one that the selection samples chose")
    if statement.params.sigma != sigmas[routing.route]:
        raise ValueError(f"sigma must be that of the route, {sigmas[routing.route]}")
    return class_index(statement)


def bounds(statement: Statement, routing: StatedRouting) -> str:
    """Checks that all probabilities and radii of all outcomes follow from the labels.

    Args:
        statement: The document.
        routing: Its choice of sigma.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    split, index, chosen = _split(statement), statement.selection.top, routing.route
    selected = (*routing.estimation.per_class, routing.estimation.invalid)
    for b, stated in enumerate(routing.outcomes):
        own = excluded = None
        samples = statement.estimation if b == chosen else stated.estimation
        if samples is not None and index is not None:
            own = _look(samples, index)
        if b != chosen:
            excluded = Look(sum(selected), selected[chosen], selected[b])
        sigma = stated.sigma or routing.settings.selector_sigma
        _agree(f"outcome {b}", (stated.p_a_lower, stated.p_b_upper, stated.radius), own, split.classes, sigma)
        excluding = stated.q_a_lower, stated.q_b_upper, stated.exclusion_radius
        _agree(f"the exclusion of outcome {b}", excluding, excluded, split.selector, routing.settings.selector_sigma)
    own_bounds = routing.outcomes[chosen]
    if (statement.claim.p_a_lower, statement.claim.p_b_upper) != (own_bounds.p_a_lower, own_bounds.p_b_upper):
        raise ValueError("p_a_lower and p_b_upper of the claim must be those of the selected route")
    return "those of every outcome follow from the labels"


def radius(statement: Statement, routing: StatedRouting) -> str:
    """Checks that the radius is the smallest over all outcomes of the larger of the two that each has.

    Args:
        statement: The document.
        routing: Its choice of sigma.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    claim = statement.claim
    least = min(max(outcome.radius, outcome.exclusion_radius) for outcome in routing.outcomes)
    if isinstance(claim, StatedAbstention):
        if least > 0 and statement.selection.top is not None:
            raise ValueError(f"a radius of {least} is shown, which calls for no abstention")
        return "no radius is shown"
    if claim.radius != least or least <= 0 or claim.target_reached is not None:
        raise ValueError(f"{least} is the least of all outcomes, but the document states {claim.radius}")
    return f"{least} is the least of all outcomes"


def _agree(what: str, stated: tuple[float, float, float], look: Look | None, split: AlphaSplit, sigma: float) -> None:
    """Compares (lower, upper, radius) with what a look shows; without one, nothing is shown.

    Raises:
        ValueError: They disagree.
    """
    claimed = Bounds(units(stated[0], MILLIONTHS), units(stated[1], MILLIONTHS))
    if not (claimed == NOTHING if look is None else is_clopper_pearson(claimed, look, split)):
        raise ValueError(f"{what}: {claimed} do not follow from the labels")
    if units(stated[2], TEN_THOUSANDTHS) not in radii(claimed, sigma):
        raise ValueError(f"{what}: the radius {stated[2]} does not follow from {claimed}")


def _look(samples: StatedSamples, index: int) -> Look:
    counted = (*samples.per_class, samples.invalid)
    return Look(sum(counted), counted[index], max(counted[:index] + counted[index + 1 :]))


def _split(statement: Statement) -> RoutingSplit:
    return routing_split(statement.request.params, len(statement.classifier.class_names))
