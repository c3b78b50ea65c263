"""Measures how the cost of a certificate grows with the side of the image, the classes K, n and the engines.

    python -m certrad.bench cost-curves

Side, K and n: a certificate without adaptation, text features included, with random weights of the backbone's
architecture at that side; one axis moves, the others stay at the base. The seconds are those of the processor, which
other work on the machine moves less, and every value is measured once in every round: compare the ratios. Engines:
those of `certrad up` as far as there are cores, and simulated ones that sleep for the time of a batch (see
`python -m certrad.bench scale`), in seconds of the clock.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from certrad.bench.common.architectures import random_clip
from certrad.bench.common.growth import Curve, as_markdown, points, write_plot
from certrad.bench.common.machine import pinned_to_cores, this_machine
from certrad.bench.common.options import add_dtype, threads_of_torch
from certrad.bench.measure.scale_real import measure_real
from certrad.bench.measure.scale_simulation import simulate
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_dtype
from certrad.models.backbones.towers import clip_towers
from certrad.models.backbones.weights import write_json
from certrad.models.classifier import TextHead
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import certify
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.models.types import SmoothingParams
from certrad.workers.local.redis_server import EmbeddedRedis

SIDE: Final = "side of the image"
CLASSES: Final = "classes K"
SAMPLES: Final = "samples n"
ENGINES: Final = "engines"
_TEMPLATE: Final = "a medical image of {}."
_KEY: Final = bytes(32)
_CPU: Final = torch.device("cpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command; the first value of an axis is the base."""
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 32, 96, 128, 192, 256], help="the first: the base")
    parser.add_argument("--classes", type=int, nargs="+", default=[6, 2, 20, 100, 1000], help="the first: the base")
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 500, 2000, 5000, 10_000], help="the same")
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="simulated; 1 is the base")
    parser.add_argument("--engine-samples", type=int, default=20_000, help="of a certificate of several engines")
    parser.add_argument("--batch-ms", type=float, default=100.0, help="that a simulated engine takes for a batch")
    parser.add_argument("--without-engines", action="store_true", help="only side, K and n")
    parser.add_argument("--n0", type=int, default=SmoothingParams().n0)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--threads", type=int, default=1, help="of torch, and cores")
    parser.add_argument("--rounds", type=int, default=3)
    add_dtype(parser)
    parser.add_argument("--out", type=Path, help="result, in JSON")
    parser.add_argument("--plot", type=Path, help="a panel for each axis, .svg or .png")
    parser.add_argument("--json", action="store_true", help="print the result, not the table")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    # First, while this process has no threads yet: simulated engines are forks of it.
    engines = (
        [] if arguments.without_engines else [real_engines(arguments.engine_samples), simulated_engines(arguments)]
    )
    with pinned_to_cores(arguments.threads), threads_of_torch(arguments.threads):
        curves = [*certificate_curves(arguments), *engines]
    document = {
        "points": [asdict(point) for curve in curves for point in points(curve)],
        "machine": asdict(replace(machine, threads=arguments.threads)),
    }
    if arguments.out:
        write_json(arguments.out, document)
    if arguments.plot:
        write_plot(arguments.plot, curves)
    print(json.dumps(document, indent=2) if arguments.json else f"{as_markdown(curves)}\n\n{document['machine']}")


def certificate_curves(arguments: argparse.Namespace) -> list[Curve]:
    """Returns the curves of side, K and n in processor seconds, each value measured once in each round.

    Args:
        arguments: The options of the command.
    """
    side, classes, samples = arguments.sides[0], arguments.classes[0], arguments.samples[0]
    dtype = chosen_dtype(arguments.dtype, _CPU)
    backbones = {value: random_backbone(arguments.backbone, value, dtype) for value in arguments.sides}
    work: dict[tuple[str, int], Callable[[], None]] = {}

    def add(axis: str, value: int, side: int, classes: int, n: int) -> None:
        params = SmoothingParams(n0=arguments.n0, n=n)
        work[axis, value] = partial(certificate, backbones[side], classes, params, arguments.batch_size)

    for value in sorted(arguments.sides):
        add(SIDE, value, value, classes, samples)
    for value in sorted(arguments.classes):
        add(CLASSES, value, side, value, samples)
    for value in sorted(arguments.samples):
        add(SAMPLES, value, side, classes, value)
    for backbone in backbones.values():  # the first passes prepare kernels and memory
        certificate(backbone, classes, SmoothingParams(n0=arguments.n0, n=arguments.n0), arguments.batch_size)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in work}
    for _ in tqdm(range(arguments.rounds), desc="rounds", file=sys.stderr):
        for key, action in work.items():
            began = time.process_time()
            action()
            seconds[key].append(time.process_time() - began)
    return [
        Curve(
            axis=axis,
            kind="measured",
            values=tuple(value for of, value in work if of == axis),
            seconds=tuple(tuple(rounds) for (of, _), rounds in seconds.items() if of == axis),
            base=base,
        )
        for axis, base in ((SIDE, side), (CLASSES, classes), (SAMPLES, samples))
    ]


def certificate(backbone: Backbone, classes: int, params: SmoothingParams, batch_size: int) -> None:
    """Makes one certificate of a random image: text features, selection, estimation, decision.

    Args:
        backbone: The backbone.
        classes: The number K of classes.
        params: The parameters of CERTIFY.
        batch_size: Samples of one batch.
    """
    head = TextHead.of_template(backbone, [f"class {number}" for number in range(classes)], _TEMPLATE)
    side = backbone.image_size
    image = np.random.default_rng(0).random((3, side, side), dtype=np.float32)
    certify(image, head.classifier(backbone, params.sigma), params, key=_KEY, batch_size=batch_size)


def random_backbone(name: str, side: int, dtype: torch.dtype) -> Backbone:
    """Returns a backbone of that architecture, for images of that side, with random weights.

    Args:
        name: Id of the backbone whose architecture it is.
        side: Side of the image.
        dtype: Of the image tower.
    """
    card = replace(shipped_backbones()[name], image_size=side)
    return Backbone(clip_towers(random_clip(card, image_size=side)), card, sha256="", device=_CPU, dtype=dtype)


def real_engines(n: int) -> Curve:
    """Returns the curve of the engines of `certrad up`, in doublings as far as there are cores.

    Args:
        n: Estimation samples of one certificate.
    """
    cores = sorted(os.sched_getaffinity(0))
    numbers = [number for number in (1, 2, 4, 8, 16, 32, 64) if number <= len(cores)]
    seconds = [measure_real(n, cores[:number]).seconds for number in numbers]
    return Curve(axis=ENGINES, kind="measured", values=tuple(numbers), seconds=tuple((one,) for one in seconds), base=1)


def simulated_engines(arguments: argparse.Namespace) -> Curve:
    """Returns the curve of engines that sleep for the time of a batch, over a Redis of their own.

    Args:
        arguments: The options of the command.
    """
    numbers = sorted(arguments.engines)
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as server:
        made = [
            simulate(
                server.socket_path,
                engines=number,
                n=arguments.engine_samples,
                batch_size=arguments.batch_size,
                seconds=arguments.batch_ms / 1000,
            )
            for number in numbers
        ]
    return Curve(
        axis=ENGINES,
        kind="simulated",
        values=tuple(numbers),
        seconds=tuple((one.seconds,) for one in made),
        base=1,
    )
