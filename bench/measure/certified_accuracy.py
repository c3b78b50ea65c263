"""Certified accuracy of every prompt method on MedNIST test images, from one pass of noisy images.

    python -m certrad.bench certified-accuracy --data mednist.zip --journal accuracy.jsonl --out accuracy.json

Every image at every sigma is one line of the journal; a run that was stopped goes on where the journal ends. The first
`--check-images` images get `--check-n` estimation samples at the `--check-sigmas`; the first n of them are those that
count everywhere else.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from certrad.bench.common.accuracy_report import as_markdown, summarise
from certrad.bench.common.journal import Journal
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, LabelledImages, equal_sample, read_split
from certrad.bench.common.noisy_images import METHODS, Job, Record, Study, StudySettings
from certrad.bench.common.options import add_dtype
from certrad.models.backbones.base import weights_directory
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, find_weights, pinned, write_json
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.types import SmoothingParams, ZeroShotAdaptation

_study: Study
"""The study of a worker process, loaded once by `_start`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--journal", type=Path, required=True, help="scratch file, one JSON line an image and sigma")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--prompt", help="few-shot checkpoint; default: the default prompt of the task")
    parser.add_argument("--coop", help="CoOp checkpoint, to be compared as well")
    parser.add_argument("--calibrated", help="checkpoint adapted to a pool, to be compared as well")
    parser.add_argument("--bank", help="bank of prompts for `gated`; default: the bank of the task")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=METHODS, help="without adaptation it is faster"
    )
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")
    parser.add_argument("--images", type=int, default=200, help="rounded up to as many of each class")
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0])
    parser.add_argument("--check-images", type=int, default=20)
    parser.add_argument("--check-n", type=int, default=10_000)
    parser.add_argument("--check-sigmas", type=float, nargs="*", default=[0.25])
    parser.add_argument("--batch-size", type=int, default=50, help="a divisor of n0, n and the adaptation samples")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="each computes in one thread")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    parser.add_argument("--json", action="store_true", help="print the result, not the tables")


def run(arguments: argparse.Namespace) -> None:
    """Measures what the journal lacks, then writes and prints the result."""
    machine = this_machine()
    settings = study_settings(arguments)
    images = read_split(arguments.data, "test")
    todo = jobs(images, len(settings.class_names), arguments)
    journal = Journal(arguments.journal, settings)
    missing = journal.missing(todo)
    for record in measured(missing, settings, arguments):
        journal.append(record)
    records = journal.of(todo)
    params = [SmoothingParams(sigma=sigma, n0=settings.n0, n=settings.n) for sigma in arguments.sigmas]
    results = summarise(records, params)
    check = summarise(records, [replace(of_sigma, n=settings.check_n) for of_sigma in params], check=True)
    clean = Study(settings, arguments.backbones, arguments.prompts).clean_accuracy(images.pixels, images.labels)
    document = {
        "settings": asdict(settings),
        "alpha": SmoothingParams().alpha,
        "bound": SmoothingParams().bound,
        "clean_accuracy": {"split": "test", "images": len(images), "accuracy": clean},
        "results": [asdict(result) for result in results],
        "check": [asdict(result) for result in check],
        "encoder_passes": sum(settings.passes(job) for job in todo),
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    tables = as_markdown(results) + "\n" + as_markdown(check)
    arguments.out.with_suffix(".md").write_text(tables, encoding="utf-8")
    print(json.dumps(document, indent=2) if arguments.json else tables)


def study_settings(arguments: argparse.Namespace) -> StudySettings:
    """The settings that the options, the task card and the files on disk give."""
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[arguments.backbone]
    directory = weights_directory(card, arguments.backbones)
    checkpoints = {
        "coop": arguments.coop,
        "few_shot": arguments.prompt or task.default_prompt,
        "calibrated": arguments.calibrated,
        "gated": arguments.bank or task.default_bank,
    }
    return StudySettings(
        backbone=card.id,
        backbone_sha256=file_sha256(find_weights(pinned(card, directory), directory)),
        class_names=task.class_names,
        template=task.template,
        checkpoints={method: prompt_id for method, prompt_id in checkpoints.items() if prompt_id},
        methods=tuple(arguments.methods),
        adaptation=ZeroShotAdaptation(),
        n0=arguments.n0,
        n=arguments.n,
        check_n=arguments.check_n,
        batch_size=arguments.batch_size,
        data_sha256=file_sha256(arguments.data),
        seed=arguments.seed,
        dtype=dtype_name(chosen_dtype(arguments.dtype, torch.device("cpu"))),
    )


def jobs(images: LabelledImages, n_classes: int, arguments: argparse.Namespace) -> list[Job]:
    """Every image at every sigma, class by class in turn; the first images carry the check."""
    chosen = equal_sample(images.labels, n_classes, arguments.images, arguments.seed)
    return [
        Job(
            index=index,
            pixels=images.pixels[index],
            label=int(images.labels[index]),
            sigma=sigma,
            check=place < arguments.check_images and sigma in arguments.check_sigmas,
        )
        for place, index in enumerate(chosen)
        for sigma in arguments.sigmas
    ]


def measured(todo: Sequence[Job], settings: StudySettings, arguments: argparse.Namespace) -> Iterator[Record]:
    """The records of some jobs, with a progress bar that counts encoder passes."""
    with (
        ProcessPoolExecutor(
            arguments.processes,
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(settings, arguments.backbones, arguments.prompts),
        ) as pool,
        tqdm(total=sum(map(settings.passes, todo)), unit="image", unit_scale=True) as progress,
    ):
        for job, record in zip(todo, pool.map(_measure, todo), strict=True):
            yield record
            progress.update(settings.passes(job))


def _start(settings: StudySettings, backbones: Path, prompts: Path) -> None:
    global _study  # what the initializer of a process pool is for
    torch.set_num_threads(1)
    _study = Study(settings, backbones, prompts)


def _measure(job: Job) -> Record:
    return _study.measure(job)
