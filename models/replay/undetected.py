"""How many labels of a document a forger could hide from a replay, and what would be left without them."""

from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.smoothing import SequentialTest, clopper_pearson_upper, decide
from certrad.models.types import Certificate, FixedSigma, LabelCounts, SmoothingParams


def describe_undetected(statement: Statement, differ: int, replayed: int, total: int) -> str:
    """Returns a sentence: how many labels may be forged unnoticed, and the radius without them.

    See docs/mathematics.md, 7.1.

    Args:
        statement: The parsed document.
        differ: Labels that were drawn again and differ in a near-tie.
        replayed: Labels that were drawn again.
        total: Labels of the document.
    """
    alpha = statement.params.alpha
    share = differ / total if replayed == total else clopper_pearson_upper(differ, replayed, alpha)
    forged = int(share * total)
    words = f"with confidence {1 - alpha:g} at most {forged} are forged"
    match statement.request.sigma, statement.claim:
        case FixedSigma(sigma), StatedCertificate():
            remaining = _radius_without(statement, statement.request.params.at(sigma), forged)
        case _:
            return words
    end = f"a radius of {remaining}" if remaining > 0 else "no radius: replay more samples"
    return f"{words}, which would leave {end}"


def _radius_without(statement: Statement, params: SmoothingParams, forged: int) -> float:
    """Returns the radius that follows if so many labels of the class were in truth the runner-up's."""
    counted, selection = statement.estimation.per_class, statement.selection
    if (index := selection.top) is None or forged > counted[index]:
        return 0.0
    others = [(count, label) for label, count in enumerate((*counted, statement.estimation.invalid)) if label != index]
    worst = [*counted, statement.estimation.invalid]
    worst[index] -= forged
    worst[max(others)[1]] += forged
    counts = LabelCounts(per_class=tuple(worst[:-1]), invalid=worst[-1])
    if params.target_radius is None:
        outcome = decide(selection, counts, params)
        return outcome.radius if isinstance(outcome, Certificate) else 0.0
    test = SequentialTest(params, selection, look_every=counts.total)
    verdict = test.look(counts)
    at_n = verdict.outcome if verdict is not None else None
    return max(test.running_radius, at_n.radius if isinstance(at_n, Certificate) else 0.0)
