"""How a cost grows along one axis: seconds, ratios to a common base, and the exponent between neighbours."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One axis: the seconds of every value in every round.

    Attributes:
        axis: What was varied.
        kind: `measured`, or `simulated`.
        values: The values, rising.
        seconds: For each value its seconds, one for each round; all values were measured in each round.
        base: The value that ratios are told against.
    """

    axis: str
    kind: str
    values: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]
    base: int

    def __post_init__(self) -> None:
        if list(self.values) != sorted(set(self.values)) or self.base not in self.values:
            raise ValueError(f"values must rise and hold the base {self.base}, got {self.values}")
        if len(self.seconds) != len(self.values) or len({len(rounds) for rounds in self.seconds}) != 1:
            raise ValueError("every value must have seconds of every round")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of an axis.

    Attributes:
        axis: See `Curve`.
        kind: See `Curve`.
        value: The value.
        seconds: The median over the rounds.
        ratio: Seconds over those of the base in the same round, the median over the rounds.
        exponent: The p with which seconds grow as value^p from the value before to this one; None at the first.
    """

    axis: str
    kind: str
    value: int
    seconds: float
    ratio: float
    exponent: float | None


def points(curve: Curve) -> list[Point]:
    """Returns the points of a curve.

    Args:
        curve: The seconds of every value.
    """
    base = curve.seconds[curve.values.index(curve.base)]
    ratios = [
        statistics.median(one / other for one, other in zip(rounds, base, strict=True)) for rounds in curve.seconds
    ]
    found = []
    for place, (value, rounds, ratio) in enumerate(zip(curve.values, curve.seconds, ratios, strict=True)):
        exponent = None
        if place:
            exponent = math.log(ratio / ratios[place - 1]) / math.log(value / curve.values[place - 1])
        found.append(
            Point(
                axis=curve.axis,
                kind=curve.kind,
                value=value,
                seconds=statistics.median(rounds),
                ratio=ratio,
                exponent=exponent,
            )
        )
    return found


def as_markdown(curves: Sequence[Curve]) -> str:
    """Returns a table for the documentation.

    Args:
        curves: The curves, one below the other.
    """
    lines = ["| axis | value | kind | s | base = 1 | exponent |", "|---|---|---|---|---|---|"]
    for curve in curves:
        for point in points(curve):
            exponent = "" if point.exponent is None else f"{point.exponent:.2f}"
            lines.append(
                f"| {point.axis} | {point.value:,} | {point.kind} | {point.seconds:.3g} | {point.ratio:.3g} "
                f"| {exponent} |"
            )
    return "\n".join(lines)


def write_plot(path: Path, curves: Sequence[Curve]) -> None:
    """Writes a panel for each axis, both scales logarithmic, as the suffix says.

    Args:
        path: The file.
        curves: Those of one axis share a panel.
    """
    import matplotlib as mpl  # what only this needs to load
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(curve.axis for curve in curves))
    figure = Figure(figsize=(3.4 * len(axes), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, axis in zip(figure.subplots(1, len(axes), squeeze=False).ravel(), axes, strict=True):
        for curve in curves:
            if curve.axis == axis:
                style = "--" if curve.kind == "simulated" else "-"
                panel.plot(curve.values, [point.ratio for point in points(curve)], style, marker="o", label=curve.kind)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xlabel(axis)
        panel.set_ylabel("time, base = 1")
        panel.grid(visible=True, alpha=0.3)
        panel.legend(fontsize=8)
    # The same seconds give the same file: no date, and ids from a fixed salt.
    with mpl.rc_context({"svg.hashsalt": "cost-curves", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
