"""The output of the command line: progress bars on standard error, results on standard output."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from certrad.app.cli.client import Client, Counted, Event, Job
from certrad.models.types.image import IMAGE_WARNINGS, ImageWarning

CAVEAT: Final = "a certificate says nothing about whether the class is right"
_LARGER_CHANGE: Final = 10  # one of the changes that a result counts pixels for
DIFFERS: Final = "(differs)"
_FIGURES: Final = ("radius", "rms grey levels", "sigma", "n", "scope", "seconds")
_HELD: Final = {True: "shown for all", False: "not shown for all", None: "not sampled, as the certificate abstains"}
_NOISED: Final = {"model_input": "model input", "image": "rendered image before its resize"}
_RMS: Final = "rms grey levels: 255 R / sqrt(d)"
_SHAPE: Final = ("rows", "columns", "channels")
_BACKBONE_NOTE: Final = "backbone_note"
_NAMES_SHOWN: Final = 5
_TO_THE_RIGHT: Final = frozenset({"radius", "rms grey levels", "n", "seconds"})
_WIDTH: Final = 160  # of output that goes to no terminal: tables are not to be folded for a reader that is a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: an image by the user's name for it, and its outcome.

    Attributes:
        truth: The true class of the image, if known.
    """

    image: str
    job: Job
    truth: str | None = None

    @property
    def seconds(self) -> float:
        """Returns the seconds that the engine took."""
        return float(sum(self.job.result["timing"].values())) if self.job.result else 0.0

    @property
    def differs(self) -> bool:
        """Returns whether the certified class differs from the true one; an abstention claims nothing."""
        result = self.job.result or {}
        return self.truth is not None and result.get("outcome") == "certified" and result["label"] != self.truth


def output() -> Console:
    """Returns the console on standard output."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_WIDTH)


def errors() -> Console:
    """Returns the console on standard error."""
    return Console(stderr=True, highlight=False, markup=False)


def rms_grey_levels(result: Mapping[str, Any]) -> float | None:
    """Returns 255 R / sqrt(d): the radius R as a change of each of the d input values, in grey levels."""
    if result.get("radius") is None:
        return None
    noisy = result["provenance"]["classifier"].get("noisy_image")
    shape = result["provenance"]["input_shape"] if noisy is None else [noisy[name] for name in _SHAPE]
    return 255.0 * float(result["radius"]) / math.sqrt(math.prod(shape))


def image_units(result: Mapping[str, Any]) -> str | None:
    """Returns the change that the radius allows in the original image, in its own units; None for an abstention."""
    if result.get("radius") is None:
        return None
    on_image = result["radius_in_image_units"]
    if "l2" not in on_image:
        return f"no radius in the image's own units: {on_image['reason']}"
    unit = on_image["unit"] if on_image["unit"] == "HU" else f"{on_image['unit']}s"
    words = (
        f"no change below {on_image['l2']} {unit} (L2) alters the class: for example {on_image['uniform_change']} "
        f"{unit} in every pixel"
    )
    larger = next(budget for budget in on_image["pixels"] if budget["change"] == _LARGER_CHANGE)
    if larger["max_pixels"] == 0:
        return words
    count = larger["max_pixels"]
    return f"{words}, or {_LARGER_CHANGE} {unit} in {count} {'pixel' if count == 1 else 'pixels'}"


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yields bars for running jobs; they disappear when the work is done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[phase]}", style="cyan", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors(), transient=True) as progress:
        yield progress


def add_bar(progress: Progress, image: str, job: Job | None) -> TaskID:
    """Returns a new bar for one job, or for an image that the service refused."""
    bar = progress.add_task(image, total=None, phase=job.phase if job else "refused", unit="")
    _advance(progress, bar, job.progress if job else None)
    return bar


def follow(client: Client, job: Job, progress: Progress, bar: TaskID) -> Job:
    """Returns the job once it has ended; until then its events move its bar.

    A radius that is proved so far is shown below the warnings of its image.
    """
    warnings: list[str] = []

    def move(event: Event) -> None:
        match event.name:
            case "phase":
                progress.update(bar, phase=event.data["phase"])
                warnings.extend(event.data.get("warnings", ()))
            case "progress":
                _advance(progress, bar, Counted.from_json(event.data))
                if loss := event.data.get("loss"):
                    progress.update(bar, phase=f"loss {loss:.4f}")
                if running_radius := event.data.get("running_radius"):
                    while warnings:
                        code = warnings.pop(0)
                        words = IMAGE_WARNINGS.get(cast("ImageWarning", code), "docs/api.md says what it means.")
                        progress.console.print(_warning(code, [progress.tasks[bar].description], words), soft_wrap=True)
                    progress.update(bar, phase=f"radius {running_radius:.4f} proved")

    ended = client.wait(job.id, move)
    _advance(progress, bar, ended.progress)
    progress.update(bar, phase=ended.status)
    return ended


def _advance(progress: Progress, bar: TaskID, counted: Counted | None) -> None:
    if counted is not None:
        progress.update(bar, completed=counted.done, unit=counted.unit)
    if counted is not None and counted.total is not None:
        progress.update(bar, total=counted.total)


def print_results(console: Console, rows: Sequence[Row]) -> None:
    """Prints the warnings, the table of results, each radius with its scope, and below it the meaning of the scopes."""
    for warning in _warnings(rows):
        console.print(warning, soft_wrap=True)
    table = Table(show_lines=False)
    with_truth = any(row.truth is not None for row in rows)
    for name in ("image", *["what it is"] * with_truth, "label", *_FIGURES):
        table.add_column(name, justify="right" if name in _TO_THE_RIGHT else "left")
    for row in rows:
        image, label, *figures = _cells(row)
        truth = [row.truth or ""] * with_truth
        table.add_row(
            *(Text(cell) for cell in (image, *truth, f"{label} {DIFFERS}" if row.differs else label, *figures))
        )
    console.print(table)
    for row in rows:
        if row.job.result and (words := image_units(row.job.result)):
            console.print(f"{row.image} ({row.job.result['scope']}): {words}", soft_wrap=True)
    for words in filter(None, (say(row) for row in rows for say in (_variants, _parameters, _prediction_set))):
        console.print(words, soft_wrap=True)
    if any(row.differs for row in rows):
        console.print(f"{DIFFERS}: the certified class is not what the image is", soft_wrap=True)
    results = [row.job.result for row in rows if row.job.result]
    for scope, words in sorted({(result["scope"], result["scope_text"]) for result in results}):
        console.print(f"scope {scope}: {words}", soft_wrap=True)
    for space in sorted({result.get("noise_space", "model_input") for result in results}):
        console.print(f"radius: L2 over the {_NOISED[space]}, pixels in [0, 1]; {_RMS}", soft_wrap=True)


def _variants(row: Row) -> str | None:
    """Returns what other renderings of the file show, if they were asked for."""
    variants = (row.job.result or {}).get("variants")
    return f"{row.image}: other renderings: {_HELD[variants['held']]}. {variants['text']}" if variants else None


def _parameters(row: Row) -> str | None:
    """Returns what noise on the window shows, if it was asked for."""
    parameters = (row.job.result or {}).get("parameters")
    return f"{row.image}: noise on the window: {parameters['text']}" if parameters else None


def _prediction_set(row: Row) -> str | None:
    """Returns the prediction set, if one was asked for."""
    found = (row.job.result or {}).get("prediction_set")
    if not found:
        return None
    names = ", ".join(found["labels"]) or "none ('unlike the calibration images')"
    return f"{row.image}: prediction set: {names}. {found['text']}"


def _warnings(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each warning, with the images it is about; the worst come first, as in each result."""
    images: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for warning in row.job.result["warnings"] if row.job.result else ():
            images.setdefault((warning["code"], warning["message"]), []).append(row.image)
    of_images = sorted(images.items(), key=lambda found: found[0][0] == _BACKBONE_NOTE)
    return [_warning(code, names, message) for (code, message), names in of_images]


def _warning(code: str, images: Sequence[str], message: str) -> str:
    return f"warning {code} ({_some(images)}): {message}"


def _some(names: Sequence[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = [f"{len(shown) - _NAMES_SHOWN} more"] if len(shown) > _NAMES_SHOWN else []
    return ", ".join([*shown[:_NAMES_SHOWN], *more])


def print_ids(console: Console, rows: Sequence[Row]) -> None:
    """Prints the job id and the certificate digest of each result."""
    for row in rows:
        certificate = f", certificate {row.job.certificate_sha256}" if row.job.certificate_sha256 else ""
        console.print(f"{row.image}: job {row.job.id}{certificate}", soft_wrap=True)


def print_prompts(console: Console, prompts: Sequence[Mapping[str, Any]]) -> None:
    """Prints a table of prompts, each with the tasks whose default it is."""
    table = Table()
    for name in ("prompt", "method", "backbone", "adapter", "task", "classes", "default for"):
        table.add_column(name, justify="right" if name == "classes" else "left")
    for prompt in prompts:
        card = prompt["card"]
        classes = str(len(card["class_names"]))
        cells = (card["id"], card["method"], card["backbone"], card["adapter"] or "", card["task"] or "", classes)
        table.add_row(*(Text(cell) for cell in (*cells, ", ".join(prompt["default_for"]))))
    console.print(table)


def print_jobs(console: Console, jobs: Sequence[Job]) -> None:
    """Prints a table of jobs; those that succeeded have warnings, class, radius and scope, or their prompt."""
    table = Table()
    for name in ("job", "created", "status", "progress", "left", "warnings", "label", "radius", "scope"):
        table.add_column(name, no_wrap=name in {"job", "label"})  # ids that people copy
    for job in jobs:
        result = job.result or {}
        label = result.get("label") or result.get("prompt") or ""
        if result.get("outcome") == "abstained":
            label = "ABSTAINED"
        cells = (
            job.id,
            job.created_at,
            job.status,
            f"{job.progress.done}/{job.progress.total} {job.progress.unit}" if job.progress else "",
            _left(job.raw.get("estimate")),
            ", ".join(warning["code"] for warning in result.get("warnings", ()) if warning["code"] != _BACKBONE_NOTE),
            label,
            f"{result['radius']:.4f}" if result.get("radius") is not None else "",
            result.get("scope", ""),
        )
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def _left(estimate: dict[str, Any] | None) -> str:
    """Returns the estimate of the seconds until a job ends; `?` for a part that the service does not know."""
    if estimate is None:
        return ""
    wait, run = ("?" if (part := estimate[name]) is None else f"{part:.0f}" for name in ("wait_seconds", "run_seconds"))
    return f"{wait}+{run} s"


def _cells(row: Row) -> tuple[str, ...]:
    result, params = row.job.result, row.job.request["params"]
    sigma, n = str((result or params)["sigma"]), str(params["n"])
    if result is None:
        error = row.job.error
        words = f"{row.job.status.upper()} ({error['code']}): {error['detail']}" if error else row.job.status.upper()
        return row.image, words, "", "", sigma, n, "", ""
    grey = rms_grey_levels(result)
    if grey is None:
        return row.image, f"ABSTAINED ({result['reason']})", "-", "-", sigma, n, result["scope"], f"{row.seconds:.1f}"
    radius = f"{result['radius']:.4f}" + ("" if result.get("target_reached", True) else " (below the target)")
    return row.image, result["label"], radius, f"{grey:.2f}", sigma, n, result["scope"], f"{row.seconds:.1f}"


def write_json(value: object) -> None:
    """Writes one JSON document on a line of standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
