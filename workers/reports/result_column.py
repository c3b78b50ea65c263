"""The column of a page that says the result: a class with its radius, or an abstention."""

from typing import Final

from certrad.models.certificates.statement import StatedAbstention, StatedCertificate
from certrad.models.types.image import ImageRadius
from certrad.workers.reports.fonts import can_draw
from certrad.workers.reports.further_claims import further_claims
from certrad.workers.reports.layout import (
    ACCENT,
    AMBER,
    BRIGHT,
    LINE,
    NOTICE,
    PANEL,
    SOFT,
    Box,
    Column,
    Panel,
    fitting_size,
)
from certrad.workers.reports.noise_space import space_text
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import Texts
from certrad.workers.reports.variants import short_text

_HEADLINE: Final = (64, 56, 48, 42, 36, 32)
_NUMBER: Final = (46, 40, 34, 28)
_BODY: Final = 22
_SMALL: Final = 18
_LABEL: Final = 19
_PADDING: Final = 22
_GUTTER: Final = 20
_CORNER: Final = 10


def certified_column(column: Column, claim: StatedCertificate, report: Report, texts: Texts) -> None:
    """Fills the column of a certificate.

    Args:
        column: The column.
        claim: The class with its radius.
        report: What the page says.
        texts: The texts of its language.
    """
    drawable = can_draw(claim.label)
    count = len(report.statement.classifier.class_names)
    name = claim.label
    if not drawable:
        name = texts("certified.class_by_number", number=str(claim.class_index + 1), count=str(count))
    if claim.unlike:
        name = texts("certified.unlike_title")
    kind, colour = ("certified.unlike", SOFT) if claim.unlike else ("certified.class", ACCENT)
    column.text(texts(kind), _LABEL, weight="SemiBold", colour=colour)
    column.gap(2)
    column.text(name, fitting_size(name, "SemiBold", column.width, _HEADLINE, 2), weight="SemiBold")
    column.gap(10)
    if not drawable:
        column.text(texts("certified.class_cannot_be_drawn"), _SMALL, colour=SOFT)
        column.gap(8)
    column.text(
        texts("certified.unlike_not_a_finding" if claim.unlike else "certified.not_correctness"), _BODY, colour=SOFT
    )
    column.gap(26)
    _radii(column, claim, report, texts)
    column.gap(22)
    column.text(_meaning(report, texts), _BODY)
    column.gap(10)
    column.text(texts("certified.alpha", percent=texts.number(_percent(report))), _BODY)
    _target(column, claim, report, texts)
    _variants(column, report, texts)
    for each in further_claims(report.statement, texts):
        _strip(column, each.line, warns=each.warns)
    column.gap(24)
    column.rule()
    column.gap(20)
    _settings(column, report, texts)
    column.gap(20)
    column.rule()
    column.gap(18)
    column.text(texts("page.scope"), _LABEL, weight="SemiBold", colour=SOFT)
    column.gap(4)
    column.text(texts.scope(report.statement), _SMALL + 1)


def abstained_column(column: Column, claim: StatedAbstention, report: Report, texts: Texts) -> None:
    """Fills the column of an abstention, which shows no class and no number.

    Args:
        column: The column.
        claim: The abstention.
        report: What the page says.
        texts: The texts of its language.
    """
    title = texts("abstained.title")
    column.text(texts("abstained.result"), _LABEL, weight="SemiBold", colour=SOFT)
    column.gap(2)
    column.text(title, fitting_size(title, "SemiBold", column.width, _HEADLINE[1:], 1), weight="SemiBold")
    column.gap(16)
    column.text(texts("abstained.meaning"), _BODY + 2)
    column.gap(10)
    column.text(texts("abstained.not_a_finding"), _BODY + 2)
    column.gap(34)
    why = (texts(f"abstained.reason.{claim.reason}"),)
    _card(column, texts("abstained.why"), why)
    column.gap(_GUTTER)
    _card(
        column,
        texts("abstained.what_to_do"),
        (texts("abstained.advice"), texts(f"abstained.next_step.{claim.reason}")),
    )
    column.gap(26)
    if (stated := report.statement.variants) is not None:
        column.text(short_text(stated, report.statement, texts), _SMALL, colour=SOFT)
        column.gap(10)
    for each in further_claims(report.statement, texts):
        column.text(each.line, _SMALL, colour=SOFT)
        column.gap(10)
    column.text(texts("limits.abstention"), _SMALL, colour=SOFT)


def _card(column: Column, title: str, paragraphs: tuple[str, ...]) -> None:
    inner = column.inner(_PADDING + 4, PANEL)
    inner.text(title, _LABEL, weight="SemiBold", colour=SOFT)
    inner.gap(6)
    for number, paragraph in enumerate(paragraphs):
        inner.gap(10 if number else 0)
        inner.text(paragraph, _BODY)
    inner.gap(_PADDING)
    column.panels.append(_panel(column.x, column.y, column.width, inner.y - column.y))
    column.take(inner)


def _radii(column: Column, claim: StatedCertificate, report: Report, texts: Texts) -> None:
    """Adds two cards side by side: the radius in the model input, and in the image's own units."""
    radius = report.statement.radius_in_image_units
    width = (column.width - _GUTTER) // 2
    top = column.y
    left, right = (
        Column(x=x + _PADDING, width=width - 2 * _PADDING, y=top + _PADDING - 4, behind=PANEL)
        for x in (column.x, column.x + width + _GUTTER)
    )
    left.text(texts("certified.radius"), _SMALL, weight="SemiBold", colour=SOFT)
    right.text(texts("certified.image_radius"), _SMALL, weight="SemiBold", colour=SOFT)
    second = texts.number(radius.l2) if isinstance(radius, ImageRadius) else ""
    first = texts.number(claim.radius)
    size = min(fitting_size(number, "SemiBold", left.width, _NUMBER, 1) for number in (first, second))
    ink = SOFT if claim.unlike else ACCENT
    left.text(first, size, weight="SemiBold", colour=ink)
    left.text(space_text(report.statement, texts, "certified.radius_unit"), _SMALL, colour=SOFT)
    if isinstance(radius, ImageRadius):
        right.text(second, size, weight="SemiBold", colour=ink)
        right.text(texts("certified.image_radius_unit", unit=texts.unit(radius.unit)), _SMALL, colour=SOFT)
    else:
        right.gap(10)
        right.text(texts("certified.no_image_radius"), 26, weight="SemiBold")
        right.gap(6)
        right.text(texts.no_image_radius(radius), _SMALL, colour=SOFT)
    height = max(left.y, right.y) + _PADDING - 4 - top
    column.panels.extend(_panel(x, top, width, height) for x in (column.x, column.x + width + _GUTTER))
    column.take(left, right)
    column.y = top + height


def _meaning(report: Report, texts: Texts) -> str:
    """Returns what the radius means on the image, with an example that a reader can picture."""
    radius = report.statement.radius_in_image_units
    if not isinstance(radius, ImageRadius):
        return space_text(report.statement, texts, "certified.meaning_in_model_input")
    values = {
        "radius": texts.number(radius.l2),
        "unit": texts.unit(radius.unit),
        "uniform": texts.number(radius.uniform_change),
    }
    some = [budget for budget in radius.pixels if budget.max_pixels > 1 and budget.change <= radius.l2]
    if not some:
        return texts("certified.meaning_of_uniform", **values)
    budget = next((budget for budget in reversed(some) if budget.change == 10), some[-1])
    return texts(
        "certified.meaning",
        **values,
        change=texts.number(budget.change),
        pixels=texts.number(budget.max_pixels),
    )


def _percent(report: Report) -> float:
    return round(100 * report.statement.params.alpha, 10)


def _target(column: Column, claim: StatedCertificate, report: Report, texts: Texts) -> None:
    target = report.statement.params.target_radius
    if target is None:
        return
    missed = not claim.target_reached
    text = texts("certified.target_missed" if missed else "certified.target_reached", target=texts.number(target))
    _strip(column, text, warns=missed)


def _variants(column: Column, report: Report, texts: Texts) -> None:
    """Adds a line about other renderings, in amber where the class was not shown for all of them."""
    stated = report.statement.variants
    if stated is not None:
        _strip(column, short_text(stated, report.statement, texts), warns=not stated.held)


def _strip(column: Column, text: str, *, warns: bool) -> None:
    """Adds a line with a bar beside it, in amber where it warns."""
    column.gap(20)
    inner = column.inner(14, NOTICE if warns else PANEL)
    inner.x += 6
    inner.width -= 6
    inner.text(text, _BODY - 2, weight="SemiBold", colour=AMBER if warns else BRIGHT)
    box = Box(x=column.x, y=column.y, width=column.width, height=inner.y + 14 - column.y)
    column.panels.append(Panel(box=box, fill=inner.behind))
    column.panels.append(
        Panel(box=Box(x=box.x, y=box.y, width=6, height=box.height), fill=AMBER if warns else LINE),
    )
    column.take(inner)
    column.gap(14)


def _settings(column: Column, report: Report, texts: Texts) -> None:
    params = report.statement.params
    entries = (
        ("certified.sigma_name", params.sigma),
        ("certified.alpha_name", params.alpha),
        ("certified.samples_name", report.statement.samples_used),
    )
    width = (column.width - (len(entries) - 1) * _GUTTER) // len(entries)
    parts = []
    for number, (key, value) in enumerate(entries):
        part = Column(x=column.x + number * (width + _GUTTER), width=width, y=column.y)
        part.text(texts(key), _SMALL - 1, colour=SOFT)
        part.text(texts.number(value), _LABEL + 1)
        parts.append(part)
    column.take(*parts)


def _panel(x: int, y: int, width: int, height: int) -> Panel:
    return Panel(box=Box(x=x, y=y, width=width, height=height), fill=PANEL, outline=LINE, corner=_CORNER)
