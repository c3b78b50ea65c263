"""Measures what a sample of the image encoder costs on a CPU, by batch size and number of threads.

    python -m certrad.bench batch-sizes

All sizes are timed in turns, so that a machine that slows down does so for all of them, by the processor time of the
whole process. Two threads that take as much of it as one are twice as fast on two free cores.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import torch

from certrad.bench.common.architectures import random_clip
from certrad.bench.common.machine import Machine, this_machine
from certrad.bench.common.options import threads_of_torch
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.towers import clip_towers
from certrad.models.shipped import shipped_backbones
from certrad.models.types.smoothing import BLOCK_CPU

_CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCost:
    """What a sample costs in batches of one size.

    Attributes:
        backbone: Id of the backbone, with random weights.
        threads: Threads of torch.
        batch: Samples of a batch.
        ms: Processor milliseconds of a sample, the median over the rounds.
        ratio: Processor time of a sample by that in batches of the service's size on one thread, the median over the
            rounds of the ratio in one round.
    """

    backbone: str
    threads: int
    batch: int
    ms: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCosts:
    """The costs of every size, and the machine that they were measured on."""

    dtype: str
    rounds: int
    costs: tuple[BatchCost, ...]
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--backbones", nargs="+", default=["demo", "clip-vit-b-32"], help="ids; weights are random")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128], help="samples of a batch")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of torch")
    parser.add_argument("--rounds", type=int, default=7)


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    found = measure(arguments.backbones, arguments.batches, arguments.threads, arguments.rounds, time.process_time)
    print(json.dumps(asdict(found), indent=2))


def measure(
    backbones: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
    rounds: int,
    clock: Callable[[], float],
) -> BatchCosts:
    """Times every size of every encoder.

    Args:
        backbones: Ids of backbones whose architecture is known.
        batches: Samples of a batch; the size of the service is timed in any case.
        threads: Threads of torch; one is timed in any case.
        rounds: Turns of every size.
        clock: Seconds, to measure with.
    """
    dtype, machine = chosen_dtype("auto", _CPU), this_machine()
    usual = 1, BLOCK_CPU
    asked = list(dict.fromkeys([usual, *((number, batch) for number in threads for batch in batches)]))
    costs: list[BatchCost] = []
    for name in backbones:
        card = shipped_backbones()[name]
        backbone = Backbone(clip_towers(random_clip(card)), card, sha256="", device=_CPU, dtype=dtype)
        taken: dict[tuple[int, int], list[float]] = {each: [] for each in asked}
        for turn in range(rounds + 1):  # the first turn prepares kernels and memory
            for number, batch in asked:
                seconds = _seconds(backbone, number, batch, clock)
                if turn:
                    taken[number, batch].append(seconds / batch)
        for (number, batch), each in taken.items():
            ratios = [own / other for own, other in zip(each, taken[usual], strict=True)]
            cost = 1000 * statistics.median(each)
            costs.append(
                BatchCost(backbone=name, threads=number, batch=batch, ms=cost, ratio=statistics.median(ratios))
            )
    return BatchCosts(dtype=dtype_name(dtype), rounds=rounds, costs=tuple(costs), machine=machine)


def _seconds(backbone: Backbone, threads: int, batch: int, clock: Callable[[], float]) -> float:
    side = backbone.image_size
    inputs = torch.zeros((batch, 3, side, side), dtype=backbone.dtype)
    with threads_of_torch(threads), torch.inference_mode():
        began = clock()
        backbone.encode_normalised(inputs)
        return clock() - began
