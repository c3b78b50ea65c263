"""The cells of an experiment as CSV and as Markdown, each beside the printed value."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Final

from certrad.bench.reproduce.plan.experiment import AnyExperiment, CertifiedAccuracy
from certrad.bench.reproduce.plan.published_values import Printed
from certrad.bench.reproduce.run.result import AS_PUBLISHED, BEST_SIGMA, SIGMA, Cell, Place, label

LEGEND: Final = "Each cell: measured, (exact 95% binomial interval), and after · the printed value."
FIELDS: Final = (
    *("paper", "source", "backbone", "dataset", "row", "column", "condition", "scope"),
    *("measured", "low", "high", "images", "printed", "printed_detail", "detail", "needs", "pixels_sha256"),
)


_MEANING: Final = (
    "In the first table clean is, as in the paper, what the same σ certifies with any radius; in the second, what is "
    "labelled rightly without noise. noisy samples: share of the estimation samples with the true label. "
    "certified: for the true class, with any radius. The radius of a `frozen_prompt` holds for the prompt that was "
    "tuned on the image and is then frozen, not for a pipeline that would tune again.\n"
)


def as_csv(experiment: AnyExperiment, cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> str:
    """A line for each cell: what was measured with its exact 95% interval, and what is printed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        share, beside = cell.share, _beside(cell, printed)
        writer.writerow(
            {
                "paper": experiment.paper,
                "source": experiment.source,
                **cell.place._asdict(),
                "condition": cell.condition,
                "scope": cell.scope or "",
                "measured": "" if cell.value is None else f"{cell.value:.4f}",
                "low": "" if share is None else f"{100 * share.low:.4f}",
                "high": "" if share is None else f"{100 * share.high:.4f}",
                "images": len(cell.hits) or "",
                "printed": "" if beside is None else f"{beside.value:g}",
                "printed_detail": "" if beside is None else beside.detail,
                "detail": cell.detail,
                "needs": cell.needs,
                "pixels_sha256": cell.digest,
            }
        )
    return text.getvalue()


def as_markdown(experiment: AnyExperiment, cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> str:
    """The tables of an experiment, and below them what to do about the cells that were not run."""
    smoothed = isinstance(experiment, CertifiedAccuracy)
    tables = [*_smoothed(cells, printed), _MEANING] if smoothed else _by_backbone(cells, printed)
    needs = {(cell.needs, cell.detail) for cell in cells if cell.needs}
    notes = [f"- not run: needs {needed}: {what}" for needed, what in sorted(needs)]
    return "\n".join([*tables, *notes, *([""] if notes else [])])


def _smoothed(cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> list[str]:
    """Returns for each backbone and data set the table of the best sigmas, and one of every sigma."""
    tables = []
    for (backbone, dataset), group in groupby(_sorted(cells), key=lambda cell: cell.place[:2]):
        of_pair = _reached(list(group), printed)
        best = [cell for cell in of_pair if cell.condition == BEST_SIGMA]
        each = [cell for cell in of_pair if cell.condition != BEST_SIGMA]
        title = f"{backbone}, {dataset}, for each radius the σ that is best on the test images (the paper's rule):\n"
        tables += [title, _pivot(best, ("method", "scope"), _method, lambda cell: cell.place.column, printed)]
        if each:
            each.sort(key=lambda cell: float(cell.condition.removeprefix(SIGMA)))
            title = f"{backbone}, {dataset}, at every σ:\n"
            rows = ("σ", "method", "scope")
            tables += [title, _pivot(each, rows, _method_at_sigma, lambda cell: cell.place.column, printed)]
    return tables


def _reached(cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> list[Cell]:
    """Returns the cells without the columns of radii that nothing reaches, neither measured nor printed."""
    kept = {cell.place.column for cell in cells if cell.value != 0 or _beside(cell, printed)}
    return [cell for cell in cells if cell.place.column in kept]


def _by_backbone(cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> list[str]:
    """Returns for each backbone a table with a row for each data set and method, adaptive beside non-adaptive."""
    tables = []
    for backbone, group in groupby(_sorted(cells), key=lambda cell: cell.place.backbone):
        rows = ("data set", "row")
        tables += [f"{backbone}:\n", _pivot(list(group), rows, _row_of_dataset, _column, printed)]
    return tables


def _pivot(
    cells: Sequence[Cell],
    head: tuple[str, ...],
    row: Callable[[Cell], tuple[str, ...]],
    column: Callable[[Cell], str],
    printed: Mapping[Place, Printed],
) -> str:
    columns = list(dict.fromkeys(map(column, cells)))
    rows = list(dict.fromkeys(map(row, cells)))
    texts = {(row(cell), column(cell)): _text(cell, printed) for cell in cells}
    lines = [[*head, *columns], ["---"] * (len(head) + len(columns))]
    lines += [[*labels, *(texts.get((labels, name), "") for name in columns)] for labels in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _method(cell: Cell) -> tuple[str, ...]:
    return (label(cell.place.row), cell.scope or "")


def _method_at_sigma(cell: Cell) -> tuple[str, ...]:
    return (cell.condition.removeprefix(SIGMA), *_method(cell))


def _row_of_dataset(cell: Cell) -> tuple[str, ...]:
    return (cell.place.dataset, label(cell.place.row))


def _text(cell: Cell, printed: Mapping[Place, Printed]) -> str:
    if cell.value is None:
        measured = f"not run: needs {cell.needs}"
    elif (share := cell.share) is not None:
        at = f"; {cell.detail}" if cell.condition == BEST_SIGMA else ""
        measured = f"{cell.value:.1f} ({100 * share.low:.1f}–{100 * share.high:.1f}{at})"
    else:
        number = f"{cell.value:.1f}" if cell.digest else f"{cell.value:.4g}"
        measured = number + (f" ({cell.detail})" if cell.detail else "")
    beside = _beside(cell, printed)
    if beside is None:
        return measured
    return f"{measured} · {beside.value:g}" + (f" ({beside.detail})" if beside.detail else "")


def _beside(cell: Cell, printed: Mapping[Place, Printed]) -> Printed | None:
    return printed.get(cell.place) if cell.condition in AS_PUBLISHED else None


def _column(cell: Cell) -> str:
    return f"{cell.place.column}, {cell.condition}" if cell.condition else cell.place.column


def _sorted(cells: Sequence[Cell]) -> list[Cell]:
    """Grouped by backbone and data set, otherwise in their order."""
    pairs = list(dict.fromkeys(cell.place[:2] for cell in cells))
    return sorted(cells, key=lambda cell: pairs.index(cell.place[:2]))
