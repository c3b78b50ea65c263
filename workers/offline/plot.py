"""Certified accuracy against radius, as an image."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from certrad.models.evaluation.certified import COLUMNS, Row
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, fail

_SIZE_INCHES: Final = (7.0, 4.5)
_DPI: Final = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve of the plot: its name, and the rows of its table."""

    name: str
    rows: Sequence[Row]

    def points(self) -> tuple[list[float], list[float]]:
        """Returns radii and the share of images certified for their label at each radius or more, in percent.

        The share changes at the radii of correct images only; it begins with all of them and ends at 0.
        """
        radii = sorted(row.radius for row in self.rows if row.correct)
        shares = [100 * (len(radii) - place) / len(self.rows) for place in range(len(radii))]
        return [0.0, *radii, *radii[-1:]], [*shares[:1], *shares, 0.0] if radii else [0.0]


def plot_tables(options: Namespace) -> int:
    """Draws the tables of `certrad evaluate`.

    Returns:
        The exit code: 0, 2 for a file that is no such table.
    """
    try:
        curves = [_read(table) for table in options.tables]
        draw(curves, options.out)
    except (ValueError, OSError) as error:
        return fail(str(error), BAD_USAGE)
    return DONE


def draw(curves: Sequence[Curve], file: Path) -> None:
    """Writes the plot in the format of the file's name."""
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        radii, shares = curve.points()
        axes.step(radii, shares, where="pre", label=curve.name)
    axes.set_xlabel("radius (L2 over the model input, pixels in [0, 1])")
    axes.set_ylabel("certified accuracy in %")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 102)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=_DPI)


def curve_label(name: str, settings: Mapping[str, Any], images: int) -> str:
    """Returns the label of a curve: its name and the settings its radii depend on, with a scope that is not usual."""
    classifier = settings["classifier"]
    parts = [classifier["prompt"], f"σ = {settings['params']['sigma']:g}", f"n = {settings['params']['n']}"]
    if settings["scope"] != "input_independent":
        parts.append(settings["scope"])
    return f"{name}: {', '.join(parts)}, {images} images"


def _read(table: Path) -> Curve:
    """Returns a table with the settings of its rows, which are in the JSON file beside it.

    Raises:
        ValueError: It is no such table.
        OSError: It cannot be read.
    """
    header, *lines = table.read_text(encoding="utf-8").splitlines() or [""]
    if header != "\t".join(COLUMNS):
        raise ValueError(f"{table} must be a table of `certrad evaluate --out`, with the columns {' '.join(COLUMNS)}")
    try:
        rows = [Row.from_line(line) for line in lines]
    except ValueError:
        raise ValueError(f"{table} has a line that is no row of a table of `certrad evaluate`") from None
    if not rows:
        raise ValueError(f"{table} must have at least one row; got none")
    beside = table.with_suffix(".json")
    if not beside.is_file():
        return Curve(name=f"{table.stem}: {len(rows)} images", rows=rows)
    return Curve(name=curve_label(table.stem, json.loads(beside.read_text(encoding="utf-8")), len(rows)), rows=rows)
