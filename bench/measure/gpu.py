"""Measures the sampling of a certificate on a GPU, beside the bare encoder; without one, counts what it would move.

    python -m certrad.bench gpu

The traffic is counted everywhere: of the eager noise law by its torch operations on the device `meta`, of the fused
kernel by its loads and stores. On CUDA, each way to draw the noise is timed alone and before the encoder, and the
profiler counts its kernels; the roofline is the time that the counted bytes take at the bandwidth of a copy.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import torch
from torch._C._autograd import DeviceType
from torch.profiler import profile, supported_activities

from certrad.bench.common.architectures import random_clip
from certrad.bench.common.machine import Machine, this_machine, timed
from certrad.bench.common.noise_paths import NOISE, SIGMA, CountedPath, count_paths
from certrad.bench.common.options import add_dtype
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_device, chosen_dtype, dtype_name
from certrad.models.backbones.graphs import Graphs
from certrad.models.backbones.towers import clip_towers
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.selftest.fused import choose_noise_kernel
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing.device_noise import CudaStreams, drawn_beside
from certrad.models.smoothing.fused_noise import FusedNoise, InputForm, record_comparison
from certrad.models.smoothing.noise import Stream
from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types import BackboneCard

CLASS_NAMES: Final = ("lymphocytes", "mucus", "debris")
TEMPLATE: Final = "An image of {}."
_COPIED: Final = 1 << 30  # bytes
NOT_RUN: Final = "not run: no CUDA device"

Batches = Callable[[Iterable[int]], Iterable[tuple[int, torch.Tensor]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPath:
    """What one way to draw the noise reaches.

    Attributes:
        path: The way.
        noise_samples_per_second: Drawn alone.
        samples_per_second: Drawn and encoded.
        share_of_encoder: `samples_per_second` by that of the bare encoder.
        kernels_per_sample: Of noise and encoder, counted by the profiler.
        share_of_roofline: Of the noise alone: the time of its counted bytes at the bandwidth of a copy, by its own.
    """

    path: str
    noise_samples_per_second: float
    samples_per_second: float
    share_of_encoder: float
    kernels_per_sample: float
    share_of_roofline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured on a GPU.

    Attributes:
        kernel: What the comparison of the fused kernel with the eager law found.
        graph: Whether the CUDA graph of encoder and head is used, or why not.
        encoder_samples_per_second: Of the bare encoder, on one batch of normalised inputs again and again.
        copy_bytes_per_second: Bytes read and written by a copy of 1 GiB.
        paths: One for each way to draw the noise.
    """

    kernel: str
    graph: str
    encoder_samples_per_second: float
    copy_bytes_per_second: float
    paths: tuple[MeasuredPath, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """The counted traffic, and what was measured, or why nothing was."""

    backbone: str
    shape: tuple[int, int, int]
    dtype: str
    batch_size: int
    counted: tuple[CountedPath, ...]
    measured: Measurement | str
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--backbone", default="clip-vit-b-16", help="a CLIP; its weights are random ones")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40, help="batches of one timed run")
    parser.add_argument("--device", default="auto")
    add_dtype(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    print(json.dumps(asdict(report(arguments, this_machine())), indent=2))


def report(arguments: argparse.Namespace, machine: Machine) -> GpuReport:
    """Counts the traffic, and measures where there is a GPU."""
    card, device = shipped_backbones()[arguments.backbone], chosen_device(arguments.device)
    dtype = chosen_dtype(arguments.dtype, device)
    shape, batch_size = (3, card.image_size, card.image_size), arguments.batch_size
    form = InputForm(dtype=dtype, channels_last=True, mean=card.mean, std=card.std)
    counted = count_paths(shape, batch_size, form)
    return GpuReport(
        backbone=card.id,
        shape=shape,
        dtype=dtype_name(dtype),
        batch_size=batch_size,
        counted=counted,
        measured=_measure(card, device, form, arguments, counted) if device.type == "cuda" else NOT_RUN,
        machine=machine,
    )


def measure_path(
    counted: CountedPath,
    batches: Batches,
    encode: Callable[[torch.Tensor], torch.Tensor],
    *,
    starts: range,
    device: torch.device,
    encoder_rate: float,
    bandwidth: float,
) -> MeasuredPath:
    """Times one way to draw the noise, alone and before the encoder.

    Args:
        counted: Its counted traffic.
        batches: Yields (start, inputs) for every start.
        encode: The encoder.
        starts: First samples of the batches.
        device: The device.
        encoder_rate: Samples per second of the bare encoder.
        bandwidth: Bytes per second of a copy.
    """
    samples = len(starts) * starts.step

    def draw() -> None:
        for _ in batches(starts):
            pass

    def draw_and_encode() -> None:
        for _, inputs in batches(starts):
            encode(inputs)

    draw_and_encode()  # compiles, and fills the caches of the allocator
    alone, together = samples / timed(draw, device), samples / timed(draw_and_encode, device)
    return MeasuredPath(
        path=counted.path,
        noise_samples_per_second=alone,
        samples_per_second=together,
        share_of_encoder=together / encoder_rate,
        kernels_per_sample=_profiled_kernels(draw_and_encode) / samples,
        share_of_roofline=counted.noise_bytes_per_sample * alone / bandwidth,
    )


@torch.inference_mode()
def _measure(
    card: BackboneCard,
    device: torch.device,
    form: InputForm,
    arguments: argparse.Namespace,
    counted: tuple[CountedPath, ...],
) -> Measurement:
    backbone = Backbone(
        clip_towers(random_clip(card)),
        card,
        sha256="",
        device=device,
        dtype=form.dtype,
        channels_last=form.channels_last,
    )
    classifier = VisionLanguageClassifier(backbone, template_features(backbone, CLASS_NAMES, TEMPLATE))
    image = np.random.default_rng(0).random((3, card.image_size, card.image_size))
    sampler = NoisySampler(image=image, sigma=SIGMA, noise=NOISE, batch_size=arguments.batch_size, device=device)
    starts = range(0, arguments.batches * arguments.batch_size, arguments.batch_size)
    kernel = choose_noise_kernel(device)
    encoder_rate, bandwidth = _encoder_rate(backbone, starts, form), _copy_bandwidth(device)
    normalised = FusedNoise(key=NOISE.key, image=torch.from_numpy(image).to(device), sigma=SIGMA, form=form)

    def by_sampler(exact: bool) -> Batches:
        def batches(starts: Iterable[int]) -> Iterable[tuple[int, torch.Tensor]]:
            record_comparison(device, exact=exact)
            with closing(sampler.batches(Stream.ESTIMATE, starts)) as drawn:
                yield from drawn

        return batches

    def by_kernel(starts: Iterable[int]) -> Iterable[tuple[int, torch.Tensor]]:
        def draw(start: int) -> torch.Tensor:
            return normalised.inputs(Stream.ESTIMATE, range(start, start + arguments.batch_size))

        return drawn_beside(draw, starts, CudaStreams.of(device), reads=normalised.tensors)

    ways = (
        (by_sampler(False), backbone.encode_image),
        (by_sampler(True), backbone.encode_image),
        (by_kernel, backbone.encode_normalised),
        (by_kernel, lambda inputs: classifier.batch_logits(inputs, form)),
    )
    as_served = replace(counted[-1], path=f"{counted[-1].path}, encoder and head in a CUDA graph")
    usable = ways if kernel.startswith("noise by the fused kernel") else ways[:1]
    paths = [
        measure_path(
            of_path, batches, encode, starts=starts, device=device, encoder_rate=encoder_rate, bandwidth=bandwidth
        )
        for of_path, (batches, encode) in zip((*counted, as_served), usable, strict=False)
    ]
    return Measurement(
        kernel=kernel,
        graph=graph_state(backbone.graphs),
        encoder_samples_per_second=encoder_rate,
        copy_bytes_per_second=bandwidth,
        paths=tuple(paths),
    )


def graph_state(graphs: Graphs | None) -> str:
    """Returns whether a CUDA graph is used, or why not.

    Args:
        graphs: Those of a backbone; None on a CPU.
    """
    if graphs is None:
        return "no CUDA device"
    return "used, with the bits of single launches" if graphs.refused is None else f"not used: {graphs.refused}"


def _encoder_rate(backbone: Backbone, starts: range, form: InputForm) -> float:
    side = backbone.image_size
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    inputs = torch.rand((starts.step, 3, side, side), device=backbone.device).to(form.dtype, memory_format=layout)

    def encode() -> None:
        for _ in starts:
            backbone.encode_normalised(inputs)

    encode()
    return len(starts) * starts.step / timed(encode, backbone.device)


def _copy_bandwidth(device: torch.device) -> float:
    source = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)

    copy()
    return 2 * _COPIED / timed(copy, device)


def _profiled_kernels(action: Callable[[], None]) -> int:
    """Returns how many kernels the profiler saw on a GPU while an action ran."""
    with profile(activities=supported_activities()) as profiler:  # type: ignore[no-untyped-call]
        action()
    return sum(event.count for event in profiler.key_averages() if event.device_type == DeviceType.CUDA)
