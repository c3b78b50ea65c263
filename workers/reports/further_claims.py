"""Claims that stand beside the radius, in the form that every report shows them."""

from collections.abc import Iterator
from dataclasses import dataclass

from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.statement import Statement
from certrad.workers.reports import further_codes
from certrad.workers.reports.codes import Concept
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
    """

    name: Concept
    outcome: Concept
    text_name: Concept
    text: str
    line: str
    warns: bool


def further_claims(statement: Statement, texts: Texts) -> Iterator[FurtherClaim]:
    """Yields the claims of a document beside its radius and its variants, in their order.

    Args:
        statement: What the document states.
        texts: The texts of a language. The claims in words are in English, as they were signed.
    """
    if statement.parameters is not None:
        yield _window(statement.parameters, texts)


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
