"""Measures the cost of a certificate beside the passes of the image encoder, and against a plain loop.

    python -m certrad.bench certify-cost --backbone demo --n 10000

One run measures (a) a certificate without adaptation, (b) the same number of bare encoder passes and (c) the plain
loop, and compares only what was measured in the same round: halves of (b) and (c) stand before and after (a), so that
a machine that slows down or speeds up does so for all three.
"""

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from open_clip.model import CLIP
from tqdm import tqdm

from certrad.bench.common import plain_loop
from certrad.bench.common.architectures import load_clip, random_clip
from certrad.bench.common.cost_notes import notes
from certrad.bench.common.machine import Machine, this_machine, timed
from certrad.bench.common.options import add_threads, use_threads
from certrad.bench.common.sampling_profile import Share, as_table, profiled
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_device
from certrad.models.backbones.towers import clip_towers
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import certify
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.models.smoothing.device import noise_law
from certrad.models.types import BackboneCard, SmoothingParams

CLASS_NAMES: Final = (
    "adipose tissue",
    "background",
    "debris",
    "lymphocytes",
    "mucus",
    "smooth muscle",
    "normal colon mucosa",
    "cancer-associated stroma",
    "colorectal adenocarcinoma epithelium",
)
TEMPLATE: Final = "An H&E image patch of {}."
"""The classes and the template of KatherColon, the first data set of PromptSmooth."""

DEVICE_BATCH_SIZE: Final = 256
BATCH_SIZES: Final = {"cpu": (8, 16, 32, 64, 128), "cuda": (64, 128, 256, 512)}
"""Batch sizes among which the bare passes choose the fastest."""
CALIBRATION_SECONDS: Final = 1.0
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Seconds of (a), (b) and (c), the latter two scaled to n0 + n samples, measured side by side.

    processor_ratio: processor time of (a) by that of (b), of all threads: what (a) adds, hidden beside (b) or not.
    """

    certificate: float
    bare: float
    plain: float
    processor_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyCost:
    """The figures of one run: medians over its rounds, and everything they depend on.

    overhead_ratio: median of certificate / bare. processor_ratio: the same of processor time.
    speedup_vs_plain_loop: median of plain / certificate.
    bare_samples, plain_samples: what (b) and (c) were measured on in each round, then scaled to n0 + n.
    bare_ms_per_sample: the calibration, for each batch size that was tried.
    profile: where the threads of one more certificate were; empty without `--profile`.
    """

    backbone: str
    weights: str
    dtype: str
    n0: int
    n: int
    classes: int
    batch_size: int
    bare_batch_size: int
    bare_ms_per_sample: dict[int, float]
    bare_samples: int
    plain_dtype: str
    plain_batch_size: int
    plain_samples: int
    rounds: tuple[Round, ...]
    certificate_seconds: float
    bare_seconds: float
    plain_seconds: float
    overhead_ratio: float
    processor_ratio: float
    speedup_vs_plain_loop: float
    profile: tuple[Share, ...]
    notes: tuple[str, ...]
    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """The three things to time, on one random image.

    model: float32, for the plain loop. backbone: the same weights in the dtype of the certificate.
    visual: the image tower of the backbone.
    """

    card: BackboneCard
    model: CLIP
    backbone: Backbone
    visual: torch.nn.Module
    image: np.ndarray[Any, np.dtype[np.float32]]
    params: SmoothingParams
    batch_size: int

    def certificate(self) -> None:
        """(a): text features, selection, estimation, decision."""
        classifier = VisionLanguageClassifier(self.backbone, template_features(self.backbone, CLASS_NAMES, TEMPLATE))
        law = noise_law(self.backbone.device)
        certify(self.image, classifier, self.params, key=bytes(32), law=law, batch_size=self.batch_size)

    def bare_passes(self, samples: int, batch_size: int) -> None:
        """(b): passes of the image tower over whole batches of prepared input."""
        shape = (batch_size, *self.image.shape)
        pixels = torch.zeros(shape, device=self.backbone.device, dtype=self.backbone.dtype)
        with torch.inference_mode():
            for _ in range(samples // batch_size):
                self.visual(pixels)

    def plain_passes(self, samples: int) -> None:
        """(c): the plain loop."""
        device, mean, std = self.backbone.device, self.card.mean, self.card.std
        image = plain_loop.normalise(torch.from_numpy(self.image).to(device)[None], mean, std)[0]
        prompts = plain_loop.full_length_prompts(self.backbone, CLASS_NAMES, TEMPLATE).to(device)
        plain_loop.count_labels(self.model, image, prompts, mean=mean, std=std, sigma=self.params.sigma, n=samples)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--backbone", required=True, choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--random-weights", action="store_true", help="true architecture, random weights")
    parser.add_argument("--n", type=int, default=SmoothingParams().n)
    parser.add_argument("--n0", type=int, default=SmoothingParams().n0)
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="auto: bfloat16 if in hardware")
    parser.add_argument("--batch-size", type=int, help="of the certificate; default: that of the service")
    parser.add_argument("--bare-batch-sizes", type=int, nargs="+", help="among which (b) chooses the fastest")
    parser.add_argument("--baseline-samples", type=int, help="of (b) and (c) in a round, then scaled; default n0 + n")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="look where the threads of one more certificate are")
    add_threads(parser)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    use_threads(arguments)
    cost = measure(arguments)
    if arguments.json:
        print(json.dumps(asdict(cost), indent=2))
    else:
        print(as_text(cost))


def measure(arguments: argparse.Namespace) -> CertifyCost:
    """Calibrate the bare passes, then time the rounds."""
    machine = this_machine()
    work = workload(arguments, machine)
    total = work.params.n0 + work.params.n
    wanted = arguments.baseline_samples or total
    calibration = calibrate(work, arguments.bare_batch_sizes or BATCH_SIZES[work.backbone.device.type])
    bare_batch_size = min(calibration, key=lambda size: calibration[size])
    bare_half = max(1, round(wanted / 2 / bare_batch_size)) * bare_batch_size
    plain_half = max(1, round(wanted / 2 / plain_loop.BATCH_SIZE)) * plain_loop.BATCH_SIZE
    rounds = tuple(
        time_round(work, bare_half, bare_batch_size, plain_half)
        for _ in tqdm(range(arguments.rounds), desc="rounds", file=sys.stderr)
    )
    return CertifyCost(
        backbone=work.card.id,
        weights="random" if arguments.random_weights else "its own",
        dtype=str(work.backbone.dtype).removeprefix("torch."),
        n0=work.params.n0,
        n=work.params.n,
        classes=len(CLASS_NAMES),
        batch_size=work.batch_size,
        bare_batch_size=bare_batch_size,
        bare_ms_per_sample={size: round(1000 * seconds, 3) for size, seconds in calibration.items()},
        bare_samples=2 * bare_half,
        plain_dtype="float32",
        plain_batch_size=plain_loop.BATCH_SIZE,
        plain_samples=2 * plain_half,
        rounds=rounds,
        certificate_seconds=statistics.median(r.certificate for r in rounds),
        bare_seconds=statistics.median(r.bare for r in rounds),
        plain_seconds=statistics.median(r.plain for r in rounds),
        overhead_ratio=statistics.median(r.certificate / r.bare for r in rounds),
        processor_ratio=statistics.median(r.processor_ratio for r in rounds),
        speedup_vs_plain_loop=statistics.median(r.plain / r.certificate for r in rounds),
        profile=profiled(work.certificate) if arguments.profile else (),
        notes=tuple(notes(arguments, machine, total, 2 * bare_half, 2 * plain_half)),
        machine=machine,
    )


def workload(arguments: argparse.Namespace, machine: Machine) -> Workload:
    """Loads or builds the backbone and draws the image."""
    card = shipped_backbones()[arguments.backbone]
    device = chosen_device("auto")
    name = arguments.dtype if arguments.dtype != "auto" else "bfloat16" if machine.has_bf16 else "float32"
    model = random_clip(card) if arguments.random_weights else load_clip(card, arguments.backbones)
    # The backbone changes the image tower to its dtype: the plain loop needs another copy.
    own = copy.deepcopy(model)
    backbone = Backbone(clip_towers(own), card, sha256="", device=device, dtype=DTYPES[name])
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (3, backbone.image_size, backbone.image_size))
    return Workload(
        card=card,
        model=model.to(device),
        backbone=backbone,
        visual=own.visual,
        image=(pixels / 255).astype(np.float32),
        params=SmoothingParams(n0=arguments.n0, n=arguments.n),
        batch_size=arguments.batch_size or (BATCH_SIZE if device.type == "cpu" else DEVICE_BATCH_SIZE),
    )


def calibrate(work: Workload, batch_sizes: Sequence[int]) -> dict[int, float]:
    """Seconds per sample of bare passes by batch size: the better of two sweeps."""
    best: dict[int, float] = {}
    for _ in range(2):
        for size in batch_sizes:
            one_pass = partial(work.bare_passes, size, size)
            if size not in best:
                one_pass()  # the first pass of a shape prepares kernels and memory
            passes, seconds = 0, 0.0
            while seconds < CALIBRATION_SECONDS:
                seconds += timed(one_pass, work.backbone.device)
                passes += 1
            best[size] = min(seconds / passes / size, best.get(size, math.inf))
    return best


def time_round(work: Workload, bare_half: int, bare_batch_size: int, plain_half: int) -> Round:
    """Times half of (b), half of (c), all of (a), half of (c), half of (b)."""
    device, total = work.backbone.device, work.params.n0 + work.params.n
    processor: list[float] = []

    def seconds_of(action: Callable[[], None]) -> float:
        began = time.process_time()
        seconds = timed(action, device)
        processor.append(time.process_time() - began)
        return seconds

    bare = partial(work.bare_passes, bare_half, bare_batch_size)
    plain = partial(work.plain_passes, plain_half)
    seconds = [seconds_of(action) for action in (bare, plain, work.certificate, plain, bare)]
    return Round(
        certificate=seconds[2],
        bare=(seconds[0] + seconds[4]) / (2 * bare_half) * total,
        plain=(seconds[1] + seconds[3]) / (2 * plain_half) * total,
        processor_ratio=processor[2] / ((processor[0] + processor[4]) / (2 * bare_half) * total),
    )


def as_text(cost: CertifyCost) -> str:
    """The figures for reading."""
    tried = ", ".join(f"{size}: {ms:.2f}" for size, ms in cost.bare_ms_per_sample.items())
    lines = [
        f"{cost.backbone} ({cost.weights} weights), {cost.dtype}, n0 = {cost.n0}, n = {cost.n}, {cost.classes} classes",
        f"  (a) certificate      {cost.certificate_seconds:9.2f} s   batch size {cost.batch_size}",
        f"  (b) bare encoder     {cost.bare_seconds:9.2f} s   batch size {cost.bare_batch_size}",
        f"  (c) plain loop       {cost.plain_seconds:9.2f} s   batch size {cost.plain_batch_size}, {cost.plain_dtype}",
        f"  overhead_ratio        {cost.overhead_ratio:8.3f}     (a) / (b)",
        f"  in processor time     {cost.processor_ratio:8.3f}     of all threads",
        f"  speedup_vs_plain_loop {cost.speedup_vs_plain_loop:8.3f}     (c) / (a)",
        f"  medians of {len(cost.rounds)} rounds; bare ms per sample by batch size: {tried}",
        f"  {cost.machine}",
        *(f"  note: {note}" for note in cost.notes),
    ]
    return "\n".join([*lines, *([as_table(cost.profile)] if cost.profile else [])])
