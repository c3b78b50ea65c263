"""Measures what a noisy pixel costs under each noise law, on one thread of the CPU.

    python -m certrad.bench noise-laws

The laws are timed in turns, so that a machine that slows down does so for all, and by the processor time of the whole
process, which a busy machine inflates less than the time on the wall, and in which extra threads would show. Compare
the ratio, not the nanoseconds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, get_args

import numpy as np
import torch

from certrad.bench.common.machine import Machine, this_machine
from certrad.models.smoothing.noise import CPU_LAWS, Noise, Stream
from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types import NoiseLaw
from certrad.models.types.smoothing import BLOCK_CPU

REFERENCE: Final[NoiseLaw] = "philox-ziggurat-f64"
_SAMPLES: Final = BLOCK_CPU  # of one turn: a batch of the service


@dataclass(frozen=True, slots=True, kw_only=True)
class LawCost:
    """What one law costs at one size of the image.

    Attributes:
        law: The law.
        side: Side of the square image in pixels, of three channels.
        normals_ns: Nanoseconds of one normal, median over the rounds; None for the law of a device, which draws no
            sample by itself.
        pixels_ns: Nanoseconds of one noisy pixel on the grid, median over the rounds.
        ratio: Of `pixels_ns` to that of the law of the CPU, median over the rounds of the ratio in one round.
    """

    law: NoiseLaw
    side: int
    normals_ns: float | None
    pixels_ns: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LawCosts:
    """The costs of every law, and the machine that they were measured on."""

    rounds: int
    costs: tuple[LawCost, ...]
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224], help="sides of the image in pixels")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    print(json.dumps(asdict(measure(arguments.sides, arguments.rounds, time.process_time)), indent=2))


def measure(sides: list[int], rounds: int, clock: Callable[[], float]) -> LawCosts:
    """Times every law at every size.

    Args:
        sides: Sides of the image in pixels.
        rounds: Turns of every law.
        clock: Seconds, to measure with.
    """
    machine, laws = this_machine(), get_args(NoiseLaw)
    costs = []
    for side in sides:
        pixels, normals = _pixel_draws(side), _normal_draws(side)
        of_pixels = _seconds([pixels[law] for law in laws], rounds, clock)
        of_normals = _seconds([normals[law] for law in CPU_LAWS], rounds, clock)
        medians = dict(zip(CPU_LAWS, map(statistics.median, of_normals), strict=True))
        reference = of_pixels[laws.index(REFERENCE)]
        nanoseconds = 1e9 / (_SAMPLES * 3 * side * side)
        for law, taken in zip(laws, of_pixels, strict=True):
            costs.append(
                LawCost(
                    law=law,
                    side=side,
                    normals_ns=medians[law] * nanoseconds if law in medians else None,
                    pixels_ns=statistics.median(taken) * nanoseconds,
                    ratio=statistics.median(own / other for own, other in zip(taken, reference, strict=True)),
                )
            )
    return LawCosts(rounds=rounds, costs=tuple(costs), machine=machine)


def _pixel_draws(side: int) -> dict[NoiseLaw, Callable[[], object]]:
    image = np.random.default_rng(0).random((3, side, side))

    def draw(law: NoiseLaw) -> Callable[[], object]:
        noise, cpu = Noise(bytes(32), law), torch.device("cpu")
        sampler = NoisySampler(image=image, sigma=0.25, noise=noise, batch_size=_SAMPLES, device=cpu)
        return lambda: sampler.batch(Stream.ESTIMATE, 0)

    return {law: draw(law) for law in get_args(NoiseLaw)}


def _normal_draws(side: int) -> dict[NoiseLaw, Callable[[], object]]:
    def draw(law: NoiseLaw) -> Callable[[], object]:
        return lambda: [None for _ in CPU_LAWS[law](bytes(32), Stream.ESTIMATE, range(_SAMPLES), 3 * side * side)]

    return {law: draw(law) for law in CPU_LAWS}


def _seconds(actions: list[Callable[[], object]], rounds: int, clock: Callable[[], float]) -> list[tuple[float, ...]]:
    """Returns the seconds of each action in every round, timed in turns; each is done once before, unmeasured."""
    for action in actions:
        action()
    turns = []
    for _ in range(rounds):
        turn = []
        for action in actions:
            began = clock()
            action()
            turn.append(clock() - began)
        turns.append(turn)
    return list(zip(*turns, strict=True))
