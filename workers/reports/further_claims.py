"""Claims that stand beside the radius, in the form that every report shows them."""

from collections.abc import Iterator
from dataclasses import dataclass

from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.statement import Statement
from certrad.models.certificates.unsmoothed import StatedUnsmoothed
from certrad.workers.reports import further_codes
from certrad.workers.reports.codes import Concept
from certrad.workers.reports.prediction_set import set_claim, set_classes, set_line
from certrad.workers.reports.texts import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherClaim:
    """A claim of the document beside its radius.

    Attributes:
        name: The concept of what it is about.
        outcome: The concept of what was shown.
        text_name: The concept of its words.
        text: The claim in words.
        line: A line about it for people.
        warns: Whether the line is a warning: something that was asked for was not shown.
        items: Further concepts with their texts.
    """

    name: Concept
    outcome: Concept
    text_name: Concept
    text: str
    line: str
    warns: bool
    items: tuple[tuple[Concept, str], ...] = ()


def further_claims(statement: Statement, texts: Texts) -> Iterator[FurtherClaim]:
    """Yields the claims of a document beside its radius and its variants, in their order.

    A prediction set may stand beside an abstention, too.

    Args:
        statement: What the document states.
        texts: The texts of a language. Claims about noise on the window and without noise are in English, as signed.
    """
    if statement.unsmoothed is not None:
        yield _unsmoothed(statement.unsmoothed, texts)
    if statement.parameters is not None:
        yield _window(statement.parameters, texts)
    if (of_set := statement.prediction_set) is not None:
        yield FurtherClaim(
            name=further_codes.SET,
            outcome=further_codes.SET_LISTED if of_set.classes else further_codes.SET_EMPTY,
            text_name=further_codes.SET_TEXT,
            text=set_claim(of_set, statement, texts),
            line=set_line(of_set, statement, texts),
            warns=not of_set.classes,
            items=((further_codes.SET_CLASSES, set_classes(of_set, statement, texts)),),
        )


def _unsmoothed(stated: StatedUnsmoothed, texts: Texts) -> FurtherClaim:
    outcome, key = {
        True: (further_codes.UNSMOOTHED_SAME, "same"),
        False: (further_codes.UNSMOOTHED_OTHER, "other"),
        None: (further_codes.UNSMOOTHED_NONE, "none"),
    }[stated.held]
    values = {} if stated.held is None else {"count": str(len(stated.rows))}
    return FurtherClaim(
        name=further_codes.UNSMOOTHED,
        outcome=outcome,
        text_name=further_codes.UNSMOOTHED_TEXT,
        text=stated.text,
        line=texts(f"unsmoothed.{key}", **values),
        warns=stated.held is False,
    )


def _window(stated: StatedParameters, texts: Texts) -> FurtherClaim:
    if stated.class_index is None:
        outcome, key = further_codes.WINDOW_NONE, "none"
    elif stated.limits:
        outcome, key = further_codes.WINDOW_SHOWN, "shown"
    else:
        outcome, key = further_codes.WINDOW_NOT_SHOWN, "not_shown"
    values = {"centre": texts.number(stated.centre), "width": texts.number(stated.width)} if key == "shown" else {}
    return FurtherClaim(
        name=further_codes.WINDOW_NOISE,
        outcome=outcome,
        text_name=further_codes.WINDOW_TEXT,
        text=stated.text,
        line=texts(f"window_noise.{key}", **values),
        warns=key == "not_shown",
    )
