"""The report of an experiment: CSV, plot, and Markdown that says where, on what and how it was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from certrad.bench.common.machine import this_machine
from certrad.bench.reproduce.plan.experiment import (
    AnyExperiment,
    AttackedAccuracy,
    CertificationTime,
    CertifiedAccuracy,
)
from certrad.bench.reproduce.plan.published_values import Printed, published_values
from certrad.bench.reproduce.report.orders import orders, summary
from certrad.bench.reproduce.report.plot import write_plot
from certrad.bench.reproduce.report.table import LEGEND, as_csv, as_markdown
from certrad.bench.reproduce.run.materials import Materials
from certrad.bench.reproduce.run.result import Cell, Place
from certrad.models.backbones.base import weights_directory
from certrad.models.backbones.weights import file_sha256, find_weights, pinned
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones
from certrad.models.types import SmoothingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The files of one experiment; the Markdown holds tables, orders and facts."""

    csv: str
    markdown: str


def write_report(experiment: AnyExperiment, cells: Sequence[Cell], materials: Materials) -> Report:
    """Writes `<id>.csv`, `<id>.md` and `<id>.png` into the folder of results."""
    printed = published_values(experiment)
    report = Report(csv=as_csv(experiment, cells, printed), markdown=_markdown(experiment, cells, printed, materials))
    materials.out.mkdir(parents=True, exist_ok=True)
    (materials.out / f"{experiment.id}.csv").write_text(report.csv, encoding="utf-8")
    (materials.out / f"{experiment.id}.md").write_text(report.markdown, encoding="utf-8")
    write_plot(materials.out / f"{experiment.id}.png", experiment, cells, printed)
    return report


def _markdown(
    experiment: AnyExperiment, cells: Sequence[Cell], printed: Mapping[Place, Printed], materials: Materials
) -> str:
    parts = [
        f"### {experiment.id}: {experiment.title}\n",
        f"{experiment.paper}, {experiment.source}. {LEGEND}\n",
        as_markdown(experiment, cells, printed),
        summary(orders(cells, printed)),
        *(f"- {fact}" for fact in _facts(experiment, cells, materials)),
    ]
    return "\n".join(parts) + "\n"


def _facts(experiment: AnyExperiment, cells: Sequence[Cell], materials: Materials) -> list[str]:
    """Hardware, sizes, seed and digests."""
    machine = this_machine()
    accelerator = f", {machine.accelerator}" if machine.accelerator and materials.device != "cpu" else ""
    facts = [
        f"machine: {machine.processor}, {machine.cores} cores{accelerator}; {materials.processes} processes, "
        f"device {materials.device}; torch {machine.torch}, Python {machine.python}"
    ]
    if isinstance(experiment, CertifiedAccuracy | CertificationTime):
        facts.append(
            f"n0 = {experiment.n0}, n = {experiment.n}, α = {SmoothingParams().alpha:g}, "
            f"bound of Cohen et al. as in the paper, encoder in {materials.dtype}"
        )
    if isinstance(experiment, AttackedAccuracy):
        facts.append(f"ε = {experiment.epsilon * 255:g}/255; " + "; ".join(_attacks(cells)))
    images = sorted({len(cell.hits) for cell in cells if cell.hits})
    facts.append(f"test images: {', '.join(map(str, images)) or 'none'}; seed {experiment.seed}")
    facts += [f"weights of {backbone}: SHA-256 {_digest(backbone, materials)}" for backbone in experiment.backbones]
    digests = sorted({(cell.place.dataset, len(cell.hits), cell.digest) for cell in cells if cell.hits})
    facts += [f"pixels of {count} images of {dataset}: SHA-256 {digest}" for dataset, count, digest in digests]
    return facts


def _attacks(cells: Sequence[Cell]) -> list[str]:
    """Returns a line for each attack behind `adaptive` and `non-adaptive`."""
    named = {(cell.condition, cell.place.column, cell.detail) for cell in cells if cell.condition and cell.hits}
    return [f"{column}, {condition}: {detail}" for condition, column, detail in sorted(named, reverse=True)]


def _digest(backbone: str, materials: Materials) -> str:
    card = shipped_backbones()[backbone]
    directory = weights_directory(card, materials.backbones)
    try:
        return file_sha256(find_weights(pinned(card, directory), directory))
    except Rejected:
        return "none, they are not here"
