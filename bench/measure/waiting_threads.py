"""Measures the cost of a sample when the machine has other work, for several counts of `GOMP_SPINCOUNT`.

    python -m certrad.bench waiting-threads

A layer is done when the last thread is. How long the others look for new work before they sleep is nothing on an idle
machine, and everything where another process has their processor: then they keep it from the one they wait for. Every
count is timed in a process of its own, in turns, alone and beside a process that computes without end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from certrad.bench.common.machine import this_machine
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.workers.environment import SPINNING

VARIABLE: Final = next(iter(SPINNING))
COUNTS: Final = (None, 0, 1000, 3000, 10_000, 100_000)
"""None: the variable is not set, which is torch's own choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Milliseconds of one sample, the median over the rounds. spin_count: None where it is not set."""

    spin_count: int | None
    alone: float
    busy: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--counts", type=int, nargs="+", help="instead of the usual ones")
    parser.add_argument("--passes", type=int, default=20, help="of the encoder over a batch, in each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help="time this very process once and print milliseconds")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    if arguments.here:
        print(encoder_ms(arguments))
        return
    machine = this_machine()
    costs = measured(arguments.counts or COUNTS, arguments)
    document = {"costs": [asdict(cost) for cost in costs], "machine": asdict(machine)}
    print(json.dumps(document, indent=2) if arguments.json else as_markdown(costs))


def measured(counts: Sequence[int | None], arguments: argparse.Namespace) -> list[Cost]:
    """The cost with each count; alone and busy, and the counts, take turns."""
    found: dict[tuple[int | None, bool], list[float]] = {}
    for _ in range(arguments.rounds):
        for count in counts:
            found.setdefault((count, False), []).append(_timed(count, arguments))
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            try:
                found.setdefault((count, True), []).append(_timed(count, arguments))
            finally:
                other.kill()
                other.wait()
    return [
        Cost(spin_count=count, alone=_median(found[count, False]), busy=_median(found[count, True])) for count in counts
    ]


def encoder_ms(arguments: argparse.Namespace) -> float:
    """Milliseconds of a sample in this process: the median pass over a batch of the service's size."""
    card = shipped_backbones()[arguments.backbone]
    dtype = chosen_dtype("auto", torch.device("cpu"))
    backbone = load_backbone(card, weights_directory(card, arguments.backbones), dtype=dtype)
    batch = torch.rand(
        (BATCH_SIZE, 3, backbone.image_size, backbone.image_size), generator=torch.Generator().manual_seed(0)
    )
    seconds = []
    with torch.inference_mode():
        backbone.encode_image(batch)
        for _ in range(arguments.passes):
            began = time.perf_counter()
            backbone.encode_image(batch)
            seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds) / BATCH_SIZE


def as_markdown(costs: Sequence[Cost]) -> str:
    """The table of the record of the decision."""
    lines = ["| count | alone, ms a sample | beside another process | ratio |", "|---|---|---|---|"]
    lines += [
        f"| {'not set' if cost.spin_count is None else cost.spin_count} | {cost.alone:.2f} | {cost.busy:.2f} "
        f"| {cost.busy / cost.alone:.1f} |"
        for cost in costs
    ]
    return "\n".join(lines)


def _timed(count: int | None, arguments: argparse.Namespace) -> float:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    own = environment if count is None else {**environment, VARIABLE: str(count)}
    options = ["--backbone", arguments.backbone, "--backbones", str(arguments.backbones)]
    answer = subprocess.run(  # noqa: S603  # our own module
        [
            sys.executable,
            "-m",
            "certrad.bench",
            "waiting-threads",
            "--here",
            *options,
            "--passes",
            str(arguments.passes),
        ],
        cwd=Path(__file__).resolve().parents[2],
        env=own,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(answer.stdout)


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)
