"""Measures what an adapter of the image encoder gains: certified accuracy on MedNIST test images, with and without it.

    python -m certrad.bench adapter --data mednist.zip --journal adapter.jsonl --out adapter.json

Both image towers see the same noisy samples. The template serves both; the few-shot prompt and the bank serve the
towers that they go with: those of the shipped adapter serve no other tower, and `--prompt` and `--bank` name others.
Without `--adapter`, one is trained first, as `python -m certrad.bench train-adapter` does. Every image at every sigma
is one line of the journal; a run that was stopped goes on where the journal ends.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from certrad.bench.common.accuracy_report import as_markdown, summarise
from certrad.bench.common.adapter_training import add_training
from certrad.bench.common.journal import Lines
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import equal_sample, read_split
from certrad.bench.common.noisy_images import Job, Record
from certrad.bench.common.options import add_dtype, use_threads
from certrad.bench.common.two_towers import TwoTowers, adapter_settings, add_classifiers, the_adapter
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.types import SmoothingParams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--journal", type=Path, required=True, help="scratch file, one JSON line an image and sigma")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--adapter", type=Path, help="safetensors file of an adapter, its card beside it")
    add_classifiers(parser)
    parser.add_argument("--images", type=int, default=204, help="test images, rounded up to as many of each class")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=50, help="a divisor of n0 and n")
    add_training(parser)
    add_dtype(parser)
    parser.set_defaults(backbone="demo", backbones=Path("backbones"))


def run(arguments: argparse.Namespace) -> None:
    """Trains if need be, measures what the journal lacks, then writes and prints the result."""
    use_threads(arguments)
    machine = this_machine()
    adapter = the_adapter(arguments)
    settings = adapter_settings(arguments, adapter, file_sha256(arguments.data))
    towers = TwoTowers(settings, adapter, arguments.backbones, arguments.prompts)
    todo = jobs(arguments, len(settings.study.class_names))
    journal = Lines(arguments.journal, settings, Record.from_json)
    done = {(record.index, record.sigma) for record in journal.records}
    for job in tqdm([job for job in todo if (job.index, job.sigma) not in done], unit="image"):
        journal.append(towers.measure(job))
    wanted = {(job.index, job.sigma) for job in todo}
    records = [record for record in journal.records if (record.index, record.sigma) in wanted]
    params = [SmoothingParams(sigma=sigma, n0=arguments.n0, n=arguments.n) for sigma in arguments.sigmas]
    results = summarise(records, params)
    card = asdict(adapter.card)
    document = {
        "settings": asdict(settings),
        "adapter": {name: card[name] for name in ("id", "rank", "sigma_range", "training", "measured")},
        "alpha": SmoothingParams().alpha,
        "images": len(todo) // len(arguments.sigmas),
        "results": [asdict(result) for result in results],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = as_markdown(results)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def jobs(arguments: argparse.Namespace, n_classes: int) -> Sequence[Job]:
    """Every test image at every sigma, class by class in turn."""
    images = read_split(arguments.data, "test")
    return [
        Job(index=index, pixels=images.pixels[index], label=int(images.labels[index]), sigma=sigma, check=False)
        for index in equal_sample(images.labels, n_classes, arguments.images, arguments.seed)
        for sigma in arguments.sigmas
    ]
