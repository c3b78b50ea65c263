"""Measures the tables and figures of PromptSmooth and AdvPT again, each value beside the printed one.

    python -m certrad.bench reproduce --list
    python -m certrad.bench reproduce --quick --data mednist.zip --out results
    python -m certrad.bench reproduce promptsmooth-table2 --data DIR --backbones DIR --out results

Every experiment leaves a CSV, a Markdown table and a plot in `--out`. A run that was stopped goes on where it was:
units of work, prompts and embedding banks are kept there. What needs a data set or weights that are not there becomes a
cell `not run`, with the line that says what to do.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from certrad.bench.reproduce.plan.experiment import (
    AnyExperiment,
    AttackedAccuracy,
    CertificationTime,
    CertifiedAccuracy,
    NearestWords,
)
from certrad.bench.reproduce.plan.plan import PLAN
from certrad.bench.reproduce.plan.quick import quick_plan, reduced
from certrad.bench.reproduce.report.report import write_report
from certrad.bench.reproduce.run.attacked import attacked_accuracy
from certrad.bench.reproduce.run.certified import certification_time, certified_accuracy
from certrad.bench.reproduce.run.efficiency import training_efficiency
from certrad.bench.reproduce.run.materials import Materials
from certrad.bench.reproduce.run.result import Cell
from certrad.bench.reproduce.run.words import nearest_words
from certrad.models.backbones.device import DTYPES, chosen_device, chosen_dtype, dtype_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("experiments", nargs="*", metavar="experiment", help="ids of --list")
    parser.add_argument("--list", action="store_true", help="print every experiment, and what it measures")
    parser.add_argument("--all", action="store_true", help="run every experiment")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="on MedNIST with the demonstration model, reduced; without a name: what docs/measurements.md shows",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all data sets, or mednist.zip")
    parser.add_argument(
        "--backbones",
        type=Path,
        default=Path("backbones"),
        help="folder of fetched backbones; and of `diffusion`, `super-resolution`, `resnet50`",
    )
    parser.add_argument("--out", type=Path, default=Path("reproduction"), help="results, prompts, banks, journals")
    parser.add_argument("--rows", nargs="+", help="only these rows of the tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=str(chosen_device("auto")))
    parser.add_argument(
        "--processes", type=int, help="each computes in one thread; default: one a core, on an accelerator one"
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="of the image encoder under noise; auto: bfloat16 if in hardware",
    )


def run(arguments: argparse.Namespace) -> None:
    """List, or measure and write what was asked for."""
    if arguments.list:
        print("\n".join(f"{experiment.id:32}{experiment.source}: {experiment.title}" for experiment in PLAN))
        return
    require_rows(chosen(arguments), arguments.rows or ())
    wanted = [with_options(experiment, arguments) for experiment in chosen(arguments)]
    materials = materials_of(arguments)
    parts = []
    for experiment in wanted:
        started = time.perf_counter()
        report = write_report(experiment, measure(experiment, materials), materials)
        seconds = time.perf_counter() - started
        parts.append(report.markdown)
        print(f"{report.markdown}\n{experiment.id}: {seconds:.0f} s\n")
    if arguments.quick and not arguments.experiments:
        (materials.out / "quick.md").write_text("\n".join(parts), encoding="utf-8")


def chosen(arguments: argparse.Namespace) -> Sequence[AnyExperiment]:
    """The experiments that are asked for; raises SystemExit for an unknown id or none at all."""
    by_id = {experiment.id: experiment for experiment in PLAN}
    unknown = [name for name in arguments.experiments if name not in by_id]
    if unknown:
        raise SystemExit(f"unknown experiment {unknown[0]!r}; see --list")
    named = PLAN if arguments.all else tuple(by_id[name] for name in arguments.experiments)
    if arguments.quick:
        return tuple(map(reduced, named)) if named else quick_plan()
    if not named:
        raise SystemExit("name an experiment, or --all, --quick, --list")
    return named


def require_rows(experiments: Sequence[AnyExperiment], rows: Sequence[str]) -> None:
    """Raises SystemExit for a row that none of the experiments has."""
    known = [
        method.name
        for experiment in experiments
        if isinstance(experiment, CertifiedAccuracy | CertificationTime | AttackedAccuracy)
        for method in experiment.methods
    ]
    if unknown := set(rows) - set(known):
        raise SystemExit(f"no row {min(unknown)!r}; there is {', '.join(dict.fromkeys(known))}")


def with_options(experiment: AnyExperiment, arguments: argparse.Namespace) -> AnyExperiment:
    """The experiment with the seed and the rows that are asked for."""
    experiment = replace(experiment, seed=arguments.seed)
    if arguments.rows and isinstance(experiment, CertifiedAccuracy | CertificationTime):
        kept = tuple(method for method in experiment.methods if method.name in arguments.rows)
        experiment = replace(experiment, methods=kept)
    elif arguments.rows and isinstance(experiment, AttackedAccuracy):
        experiment = replace(experiment, methods=tuple(m for m in experiment.methods if m.name in arguments.rows))
    return experiment


def materials_of(arguments: argparse.Namespace) -> Materials:
    """Folders, device and precision of the run."""
    device = torch.device(arguments.device)
    cores = 1 if device.type != "cpu" else len(os.sched_getaffinity(0))
    arguments.out.mkdir(parents=True, exist_ok=True)
    return Materials(
        data=arguments.data,
        backbones=arguments.backbones,
        out=arguments.out,
        device=arguments.device,
        dtype=dtype_name(chosen_dtype(arguments.dtype, device)),
        processes=arguments.processes or cores,
    )


def measure(experiment: AnyExperiment, materials: Materials) -> list[Cell]:
    """The cells of an experiment of any kind."""
    match experiment:
        case CertifiedAccuracy():
            return certified_accuracy(experiment, materials)
        case CertificationTime():
            return certification_time(experiment, materials)
        case AttackedAccuracy():
            return attacked_accuracy(experiment, materials)
        case NearestWords():
            return nearest_words(experiment, materials)
        case _:
            return training_efficiency(experiment, materials)
