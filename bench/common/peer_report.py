"""What `bench peers` says: a row for each system, what each does otherwise, and certified accuracy against time."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certrad.bench.common.peer_study import Answer, Round
from certrad.bench.common.peer_systems import ART, FIXED, FIXED_COHEN, PUBLISHED, SMALLEST, TARGET

NOT_RUN: Final = "not run: environment missing; `--make-environment` makes it"
DIFFERENCES: Final = {
    PUBLISHED: "noise of torch's generator in float32, with no key that would draw it again; p_B = 1 - p_A, one bound "
    "at alpha; nothing taken off for the gap between executed and Gaussian noise; radius not rounded; labels counted "
    "one by one, so that logits that are not finite count for a class",
    SMALLEST: "the same loop with the fewest samples that show the target if all agree, so that one other label makes "
    "it miss the target",
    ART: "the same bound; the noise of all n samples is drawn at once by numpy's global generator in float64, so that "
    "memory grows with n; counts as rows with a single one; radius not rounded",
    FIXED: "noise of Philox under a key, on the grid of 1/255, so that anyone can draw it again; eta = 1e-6 taken off "
    "p_A and put on p_B; a tenth of alpha bounds the runner-up; radius rounded down; labels kept in order; whole "
    "batches are computed, up to one more in each stage than is counted",
    FIXED_COHEN: "the same samples and seconds, read with p_B = 1 - p_A and all of alpha",
    TARGET: "looks after every batch and stops at the first that shows the target, or that it cannot be shown; its "
    "radius is one of the target's size, not the largest that n samples show",
}
"""What each system does otherwise than the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One system over all images.

    Attributes:
        system: Its name.
        images: How many images.
        samples: Mean samples of one image.
        seconds: Mean seconds of one image.
        time_ratio: Seconds over those of the published loop on the same image, the median over the images.
        processor_ratio: The same of the processor seconds, which other work on the machine moves less.
        mean_radius: Mean radius; 0 counts where it abstained or the class is not the true one.
        radius_per_second: Sum of those radii over the sum of the seconds.
        radius_per_processor_second_ratio: The same of the processor seconds, over the figure of the published loop; NaN
            where that is 0.
        certified: Share of images certified for the true class.
        certified_at_target: Share of images certified for the true class at the target radius or beyond.
        abstained: Share of images without a class.
    """

    system: str
    images: int
    samples: float
    seconds: float
    time_ratio: float
    processor_ratio: float
    mean_radius: float
    radius_per_second: float
    radius_per_processor_second_ratio: float
    certified: float
    certified_at_target: float
    abstained: float


def summarise(rounds: Sequence[Round], target_radius: float) -> list[Row]:
    """Returns a row for each system, in the order of `DIFFERENCES`.

    Args:
        rounds: The answers of all systems, image by image.
        target_radius: The radius that certified accuracy is told at.
    """
    spent = {name: sum(one.answers[name].processor_seconds for one in rounds) for name in _systems(rounds)}
    base = sum(_true_radius(one.answers[PUBLISHED], one.label) for one in rounds) / spent[PUBLISHED]
    rows = []
    for name in _systems(rounds):
        answers = [one.answers[name] for one in rounds]
        radii = [_true_radius(one.answers[name], one.label) for one in rounds]
        pairs = [(one.answers[name], one.answers[PUBLISHED]) for one in rounds]
        rows.append(
            Row(
                system=name,
                images=len(rounds),
                samples=statistics.mean(answer.samples for answer in answers),
                seconds=statistics.mean(answer.seconds for answer in answers),
                time_ratio=statistics.median(own.seconds / loop.seconds for own, loop in pairs),
                processor_ratio=statistics.median(
                    own.processor_seconds / loop.processor_seconds for own, loop in pairs
                ),
                mean_radius=statistics.mean(radii),
                radius_per_second=sum(radii) / sum(answer.seconds for answer in answers),
                radius_per_processor_second_ratio=sum(radii) / spent[name] / base if base else math.nan,
                certified=statistics.mean(radius > 0 for radius in radii),
                certified_at_target=statistics.mean(radius >= target_radius for radius in radii),
                abstained=statistics.mean(answer.class_index is None for answer in answers),
            )
        )
    return rows


def as_markdown(rows: Sequence[Row], target_radius: float) -> str:
    """Returns the table, a line for a system that did not run, and what each system does otherwise.

    Args:
        rows: See `summarise`.
        target_radius: See `summarise`.
    """
    lines = [
        "| system | samples | s an image | time, CERTIFY = 1 | processor time, CERTIFY = 1 | mean radius "
        f"| radius/s | radius/processor s, CERTIFY = 1 | certified | R ≥ {target_radius:g} | abstained |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_name = {row.system: row for row in rows}
    for name in DIFFERENCES:
        if (row := by_name.get(name)) is None:
            lines.append(f"| {name} | {NOT_RUN} |" + " |" * 9)
            continue
        lines.append(
            f"| {name} | {row.samples:,.0f} | {row.seconds:.2f} | {row.time_ratio:.3g} | {row.processor_ratio:.3g} "
            f"| {row.mean_radius:.4f} | {row.radius_per_second:.3g} | {row.radius_per_processor_second_ratio:.3g} "
            f"| {row.certified:.1%} | {row.certified_at_target:.1%} | {row.abstained:.1%} |"
        )
    otherwise = [f"- {name}: {difference}." for name, difference in DIFFERENCES.items()]
    return "\n".join([*lines, "", "What each does otherwise:", "", *otherwise])


def steps_to_target(name: str, rounds: Sequence[Round], target_radius: float) -> list[tuple[float, float]]:
    """Returns the steps of certified accuracy at the target against the processor seconds spent on one image.

    Args:
        name: The system.
        rounds: See `summarise`.
        target_radius: See `summarise`.

    Returns:
        (processor seconds, share of all images whose certificate of the true class, at the target or beyond, stood by
        then), from 0 seconds on; the share never reaches 1 where an image has no such certificate.
    """
    reached = sorted(
        one.answers[name].processor_seconds
        for one in rounds
        if _true_radius(one.answers[name], one.label) >= target_radius
    )
    return [(0.0, 0.0), *((seconds, place / len(rounds)) for place, seconds in enumerate(reached, 1))]


def write_plot(path: Path, rounds: Sequence[Round], target_radius: float) -> None:
    """Writes the plot of `steps_to_target` for every system, as the suffix says.

    Args:
        path: The file.
        rounds: See `summarise`.
        target_radius: See `summarise`.
    """
    import matplotlib as mpl  # what only this needs to load
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    end = 1.3 * max(answer.processor_seconds for one in rounds for answer in one.answers.values())
    for name in _systems(rounds):
        steps = steps_to_target(name, rounds, target_radius)
        xs, ys = zip(*steps, (end, steps[-1][1]), strict=True)
        style = "--" if name == FIXED_COHEN else "-"
        panel.step(xs, [100 * y for y in ys], style, where="post", label=name)
    panel.set_xscale("log")
    panel.set_xlim(right=end)
    panel.set_ylim(0, 103)
    panel.set_xlabel("processor seconds spent on an image")
    panel.set_ylabel(f"certified accuracy at R ≥ {target_radius:g}, %")
    panel.grid(visible=True, alpha=0.3)
    panel.legend(fontsize=8)
    # The same answers give the same file: no date, and ids from a fixed salt.
    with mpl.rc_context({"svg.hashsalt": "peers", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _systems(rounds: Sequence[Round]) -> list[str]:
    return [name for name in DIFFERENCES if name in rounds[0].answers]


def _true_radius(answer: Answer, label: int) -> float:
    return answer.radius if answer.class_index == label else 0.0
