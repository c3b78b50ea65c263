"""Measures the ways to compute an image encoder on one thread of the CPU, against PyTorch's bfloat16.

    python -m certrad.bench encoder-paths

The ways are timed in turns, so that a machine that slows down does so for all, and by the processor time of the whole
process, which a busy machine inflates less than the time on the wall. Compare the ratio, not the seconds. A way that
cannot be computed on this machine is reported as not run, with the reason.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from certrad.bench.common.architectures import random_clip
from certrad.bench.common.machine import Machine, this_machine
from certrad.models.backbones.device import OPENVINO_BFLOAT16
from certrad.models.backbones.openvino_tower import OpenVinoTower, encoder_software, require_openvino
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones
from certrad.models.types.smoothing import BLOCK_CPU

REFERENCE: Final = "torch bfloat16"
Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCost:
    """What one way costs for one encoder.

    Attributes:
        backbone: Id of the backbone, with random weights.
        path: The way.
        samples_per_second: Samples in a second of processor time, median over the rounds.
        speedup: Time of PyTorch's bfloat16 divided by that of this way, median over the rounds of the ratio in one
            round: above 1, this way is faster.
        least_cosine: Least cosine similarity of a feature to that of float32.
    """

    backbone: str
    path: str
    samples_per_second: float
    speedup: float
    least_cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """A way that this machine cannot compute.

    Attributes:
        backbone: Id of the backbone.
        path: The way.
        reason: Why.
    """

    backbone: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCosts:
    """The costs of every way, and the machine that they were measured on."""

    rounds: int
    batch: int
    costs: tuple[PathCost, ...]
    not_run: tuple[NotRun, ...]
    openvino: str
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=BLOCK_CPU, help="samples of a batch")
    parser.add_argument("--backbones", nargs="+", default=["demo", "clip-vit-b-32"], help="ids; weights are random")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    costs = measure(arguments.backbones, arguments.rounds, arguments.batch, time.process_time)
    print(json.dumps(asdict(costs), indent=2))


def measure(backbones: list[str], rounds: int, batch: int, clock: Callable[[], float]) -> PathCosts:
    """Times every way for every encoder.

    Args:
        backbones: Ids of backbones whose architecture is known.
        rounds: Turns of every way.
        batch: Samples of a batch.
        clock: Seconds, to measure with.
    """
    machine = this_machine()
    costs: list[PathCost] = []
    not_run: list[NotRun] = []
    for backbone in backbones:
        card = shipped_backbones()[backbone]
        pixels = torch.randn((batch, 3, card.image_size, card.image_size), generator=torch.Generator().manual_seed(0))
        exact, ways = random_clip(card).visual, {}
        with torch.inference_mode():
            target = exact(pixels)
            for path, make in PATHS.items():
                try:
                    ways[path] = make(exact)
                    ways[path](pixels)  # compiles, too
                except Exception as error:  # a compiler raises what it likes, and the others are still measured
                    ways.pop(path, None)
                    not_run.append(NotRun(backbone=backbone, path=path, reason=_reason(error)))
            found = {path: _least_cosine(way(pixels), target) for path, way in ways.items()}
            seconds = turns(ways, pixels, rounds, clock)
        for path, taken in seconds.items():
            ratios = [other / own for own, other in zip(taken, seconds[REFERENCE], strict=True)]
            costs.append(
                PathCost(
                    backbone=backbone,
                    path=path,
                    samples_per_second=batch / statistics.median(taken),
                    speedup=statistics.median(ratios),
                    least_cosine=found[path],
                )
            )
    return PathCosts(
        rounds=rounds,
        batch=batch,
        costs=tuple(costs),
        not_run=tuple(not_run),
        openvino=encoder_software(OPENVINO_BFLOAT16)["openvino"],
        machine=machine,
    )


def turns(
    ways: Mapping[str, Encode], pixels: Tensor, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Returns the seconds of each way in every round, timed in turns.

    Args:
        ways: The ways; each has run once before.
        pixels: The batch.
        rounds: Turns of every way.
        clock: Seconds, to measure with.
    """
    taken: dict[str, list[float]] = {path: [] for path in ways}
    for _ in range(rounds):
        for path, way in ways.items():
            began = clock()
            way(pixels)
            taken[path].append(clock() - began)
    return taken


def _torch(dtype: torch.dtype) -> Callable[[nn.Module], Encode]:
    def make(tower: nn.Module) -> Encode:
        own = deepcopy(tower).to(dtype)
        return lambda pixels: cast(Tensor, own(pixels.to(dtype)))

    return make


def _compiled(tower: nn.Module) -> Encode:
    compiled = torch.compile(deepcopy(tower).to(torch.bfloat16))
    return lambda pixels: cast(Tensor, compiled(pixels.to(torch.bfloat16)))


def _int8(tower: nn.Module) -> Encode:
    quantise: Callable[..., nn.Module] = torch.ao.quantization.quantize_dynamic
    quantised = quantise(deepcopy(tower), {nn.Linear}, dtype=torch.qint8)
    return lambda pixels: cast(Tensor, quantised(pixels))


def _openvino(tower: nn.Module) -> Encode:
    require_openvino(torch.device("cpu"))
    return OpenVinoTower(tower)


PATHS: Final[Mapping[str, Callable[[nn.Module], Encode]]] = {
    REFERENCE: _torch(torch.bfloat16),
    "torch float32": _torch(torch.float32),
    "torch.compile bfloat16": _compiled,
    "torch dynamic int8": _int8,
    "openvino bfloat16": _openvino,
}


def _least_cosine(features: Tensor, target: Tensor) -> float:
    return float(F.cosine_similarity(features.to(torch.float32), target).min())


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, Rejected) else f"{type(error).__name__}: {text}"
