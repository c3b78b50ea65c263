"""Where the order of two methods differs from the papers', and whether the images tell them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from statistics import fmean
from typing import Final, Literal

from scipy.stats import binomtest

from certrad.bench.reproduce.plan.published_values import Printed
from certrad.bench.reproduce.run.result import AS_PUBLISHED, KNOWN, Cell, Place, label

SIGNIFICANT: Final = 0.05

Verdict = Literal["as printed", "reversed", "within the error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Two rows of a column, of which the paper prints a higher value for `above`.

    p: two-sided, of the images on which just one of the two is right (exact paired test, McNemar).
    """

    backbone: str
    dataset: str
    column: str
    condition: str
    above: str
    below: str
    values: tuple[float, float]
    p: float

    @property
    def verdict(self) -> Verdict:
        """Returns whether the two stand as printed, the other way round beyond the error of the images, or neither."""
        if self.p >= SIGNIFICANT:
            return "within the error"
        return "as printed" if self.values[0] > self.values[1] else "reversed"

    @property
    def turned(self) -> bool:
        """Returns whether the measured values stand the other way round."""
        return self.values[0] < self.values[1]


def orders(cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> list[Order]:
    """Every two measured rows that the paper orders, within one column.

    printed: all values of the table; for a pair of backbone and data set that is not in it, the paper's order is that
    of the mean over the pairs that are. An adaptive attack is held against the order under the paper's own.
    """
    measured = [cell for cell in cells if cell.hits and cell.condition in (*AS_PUBLISHED, KNOWN)]
    found = []
    for _, group in groupby(sorted(measured, key=_column_key), key=_column_key):
        for upper, lower in permutations(list(group), 2):
            if (printed_difference(upper, lower, printed) or 0) > 0:
                found.append(_order(upper, lower))
    return found


def printed_difference(upper: Cell, lower: Cell, printed: Mapping[Place, Printed]) -> float | None:
    """Returns the difference of the first and the second in the paper; None where it does not print both."""
    known = {place[:2] for place in printed}
    pairs = [upper.place[:2]] if upper.place[:2] in known else sorted(known)
    differences = []
    for pair in pairs:
        first, second = (printed.get(Place(*pair, *cell.place[2:])) for cell in (upper, lower))
        if first is not None and second is not None:
            differences.append(first.value - second.value)
    return fmean(differences) if differences else None


def summary(found: Sequence[Order]) -> str:
    """Returns the number of pairs in the printed order, and a line for each reversed pair."""
    if not found:
        return "No two rows were measured that the paper orders.\n"
    counts = {verdict: sum(order.verdict == verdict for order in found) for verdict in _VERDICTS}
    head = (
        f"Of {len(found)} pairs that the paper orders, {counts['as printed']} stand as printed, "
        f"{counts['reversed']} the other way round beyond the error, and {counts['within the error']} are not told "
        f"apart by this many images (paired exact test, p < {SIGNIFICANT:g})."
    )
    turned = sorted((order for order in found if order.turned), key=_remark_key)
    return "\n".join([head, "", *(_remark(list(group)) for _, group in groupby(turned, key=_remark_key))]) + "\n"


def _remark(group: Sequence[Order]) -> str:
    """One line for two rows that stand the other way round in some columns."""
    first = group[0]
    beyond = "beyond the error" if first.verdict == "reversed" else "within the error"
    known = ", though under an attack that does not know the prompt" if first.condition == KNOWN else ""
    columns = "; ".join(
        f"{', '.join(part for part in (order.column, order.condition) if part)} {order.values[0]:.1f} against "
        f"{order.values[1]:.1f} (p = {order.p:.2g})"
        for order in group
    )
    pair = f"the paper has {label(first.above)} above {label(first.below)}{known}"
    return f"- {first.backbone}, {first.dataset}: {pair}; here, {beyond}, {columns}."


def _remark_key(order: Order) -> tuple[bool, str, str, str, str, bool]:
    """Returns the sort key of a pair: first pairs reversed beyond the error, then by name."""
    known = order.condition == KNOWN
    return (order.verdict != "reversed", order.backbone, order.dataset, order.above, order.below, known)


_VERDICTS: Final[tuple[Verdict, ...]] = ("as printed", "reversed", "within the error")


def paired_p(upper: Sequence[bool], lower: Sequence[bool]) -> float:
    """The two-sided p-value that the two are right equally often, from the images that tell them apart.

    Rows of fewer images hold the first ones of the longer row.
    """
    pairs = list(zip(upper, lower, strict=False))
    wins, losses = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _order(upper: Cell, lower: Cell) -> Order:
    common = min(len(upper.hits), len(lower.hits))
    values = tuple(100 * sum(cell.hits[:common]) / common for cell in (upper, lower))
    return Order(
        backbone=upper.place.backbone,
        dataset=upper.place.dataset,
        column=upper.place.column,
        condition=upper.condition,
        above=upper.place.row,
        below=lower.place.row,
        values=(values[0], values[1]),
        p=paired_p(upper.hits, lower.hits),
    )


def _column_key(cell: Cell) -> tuple[str, str, str, str]:
    return (cell.place.backbone, cell.place.dataset, cell.place.column, cell.condition)
