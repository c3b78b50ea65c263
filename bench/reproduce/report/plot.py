"""The plot of an experiment: measured values as lines or bars, printed ones dashed or as marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from certrad.bench.reproduce.plan.experiment import AnyExperiment, CertifiedAccuracy, NearestWords, TrainingEfficiency
from certrad.bench.reproduce.plan.published_values import Printed, column_of_radius
from certrad.bench.reproduce.run.efficiency import SECONDS
from certrad.bench.reproduce.run.result import AS_PUBLISHED, Cell, Place, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS: Final = 3
Points = dict[str, list[tuple[float, float]]]
"""Label of a line -> its points."""


def write_plot(path: Path, experiment: AnyExperiment, cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> None:
    """Writes a PNG with a panel for each backbone and data set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # what only this needs to load
    from matplotlib.figure import Figure

    pairs = [(backbone, dataset) for backbone in experiment.backbones for dataset in experiment.datasets]
    lines = -(-len(pairs) // COLUMNS)
    figure = Figure(figsize=(5 * min(len(pairs), COLUMNS), 4 * lines), layout="constrained")
    panels = figure.subplots(lines, min(len(pairs), COLUMNS), squeeze=False).ravel()
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    for panel, pair in zip(panels, pairs, strict=False):
        of_pair = [cell for cell in cells if cell.place[:2] == pair and cell.value is not None]
        beside = {place: value for place, value in printed.items() if place[:2] == pair}
        panel.set_title(", ".join(pair))
        _draw(panel, experiment, of_pair, beside)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize=6)
        else:
            panel.text(0.5, 0.5, "not run", ha="center", transform=panel.transAxes)
    figure.suptitle(f"{experiment.paper}, {experiment.source}: {experiment.title}", fontsize=9, wrap=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=110)


def _draw(panel: "Axes", experiment: AnyExperiment, cells: Sequence[Cell], printed: Mapping[Place, Printed]) -> None:
    if isinstance(experiment, TrainingEfficiency):
        _draw_lines(panel, _against_seconds(cells), "seconds of training", "accuracy, %", beside={})
        return
    measured = {cell.place: cell.value for cell in cells if cell.condition in AS_PUBLISHED and cell.value is not None}
    of_paper = {place: value.value for place, value in printed.items()}
    unit = "distance" if isinstance(experiment, NearestWords) else "%"
    if experiment.rows != "method":
        _draw_lines(panel, _by_row(measured), experiment.rows, unit, beside=_by_row(of_paper))
    elif isinstance(experiment, CertifiedAccuracy):
        radii = {column_of_radius(radius): radius for radius in experiment.radii}
        beside = _by_radius(of_paper, radii)
        _draw_lines(panel, _by_radius(measured, radii), "radius", "certified accuracy, %", beside=beside)
    else:
        known = {f"{label(cell.place.row)}, {_column(cell)}": cell.value for cell in cells if cell.value is not None}
        marks = {f"{label(place.row)}, {place.column}": value for place, value in of_paper.items()}
        _draw_bars(panel, known, marks)


def _draw_lines(panel: "Axes", measured: Points, x: str, y: str, *, beside: Points) -> None:
    """Measured lines whole, printed ones dashed, each name in one colour."""
    names = list(dict.fromkeys([*measured, *beside]))
    for points, style, suffix in ((measured, "-", ""), (beside, "--", ", printed")):
        for name, line in points.items():
            xs, ys = zip(*sorted(line), strict=True)
            colour = f"C{names.index(name) % 10}"
            panel.plot(xs, ys, style, color=colour, marker="o", markersize=3, label=name + suffix)
    panel.set_xlabel(x)
    panel.set_ylabel(y)


def _draw_bars(panel: "Axes", bars: Mapping[str, float], marks: Mapping[str, float]) -> None:
    labels = list(dict.fromkeys([*bars, *marks]))
    if bars:
        panel.barh([labels.index(label) for label in bars], list(bars.values()), label="measured")
    if marks:
        panel.plot(list(marks.values()), [labels.index(label) for label in marks], "k|", markersize=12, label="printed")
    panel.set_yticks(range(len(labels)), labels, fontsize=6)
    panel.invert_yaxis()


def _by_radius(values: Mapping[Place, float], radii: Mapping[str, float]) -> Points:
    points: Points = {}
    for (_, _, row, column), value in values.items():
        if column in radii:
            points.setdefault(label(row), []).append((radii[column], value))
    return points


def _by_row(values: Mapping[Place, float]) -> Points:
    points: Points = {}
    for (_, _, row, column), value in values.items():
        points.setdefault(column, []).append((float(row), value))
    return points


def _against_seconds(cells: Sequence[Cell]) -> Points:
    seconds = {cell.place.row: cell.value for cell in cells if cell.place.column == SECONDS}
    points: Points = {}
    for cell in cells:
        at = seconds.get(cell.place.row)
        if cell.place.column != SECONDS and at is not None and cell.value is not None:
            points.setdefault(f"{cell.place.row.partition(',')[0]}, {_column(cell)}", []).append((at, cell.value))
    return points


def _column(cell: Cell) -> str:
    return cell.place.column if cell.condition in AS_PUBLISHED else f"{cell.place.column}, {cell.condition}"
