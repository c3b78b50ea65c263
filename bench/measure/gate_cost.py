"""Measures the cost of the gate of a bank per sample, beside the pass of the image encoder that every sample needs.

    python -m certrad.bench gate-cost

Three things are timed in turns on batches of the service's size, so that a machine that slows down does so for all:
the encoder, the head of one learned prompt, and the head of the bank with its gate, both on given image features.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from certrad.bench.common.classifier import default_encoder
from certrad.bench.common.machine import Machine, this_machine, timed
from certrad.bench.common.mednist import TASK
from certrad.bench.common.noisy_images import learned_prompt
from certrad.bench.common.options import add_dtype, add_threads, use_threads
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.classifier import TextHead
from certrad.models.prompts.bank import answers
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_tasks
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.models.types import SmoothingParams

HEADS_PER_ENCODER: Final = 20
"""Passes of each head for one of the encoder, which takes a thousand times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCost:
    """Medians over the rounds, in microseconds per sample.

    gate: the bank's head less that of one prompt; gate_share: of the encoder.
    """

    backbone: str
    bank: str
    members: int
    dtype: str
    batch_size: int
    rounds: int
    encoder: float
    one_prompt: float
    bank_and_gate: float
    gate: float
    gate_share: float
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--sigma", type=float, default=SmoothingParams().sigma)
    add_dtype(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    use_threads(arguments)
    print(json.dumps(asdict(measure(arguments)), indent=2))


@torch.inference_mode()
def measure(arguments: argparse.Namespace) -> GateCost:
    """Times the shipped bank, and the shipped prompt, on random pixels."""
    machine, task = this_machine(), shipped_tasks()[TASK]
    if task.default_prompt is None or task.default_bank is None:
        raise ValueError(f"the task {TASK} needs a default prompt and a default bank")
    dtype = chosen_dtype(arguments.dtype, torch.device("cpu"))
    backbone = default_encoder(dtype)
    one, bank = (
        TextHead.of_prompt(backbone, answers(prompt, task.class_names), prompt)
        for name in (task.default_prompt, task.default_bank)
        for prompt in (learned_prompt(backbone, SHIPPED_PROMPTS, name),)
    )
    heads = [head.classifier(backbone, arguments.sigma).logits_of_features for head in (one, bank)]
    shape = arguments.batch_size, 3, backbone.image_size, backbone.image_size
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    features = backbone.encode_image(pixels)
    encode = partial(_repeat, backbone.encode_image, pixels, 1)
    actions = [encode, *(partial(_repeat, head, features, HEADS_PER_ENCODER) for head in heads)]
    of_encoder, *of_heads = (1e6 / arguments.batch_size * each for each in seconds(actions, arguments.rounds))
    of_one, of_bank = (each / HEADS_PER_ENCODER for each in of_heads)
    return GateCost(
        backbone=backbone.card.id,
        bank=task.default_bank,
        members=len(bank.text_features),
        dtype=dtype_name(dtype),
        batch_size=arguments.batch_size,
        rounds=arguments.rounds,
        encoder=of_encoder,
        one_prompt=of_one,
        bank_and_gate=of_bank,
        gate=of_bank - of_one,
        gate_share=(of_bank - of_one) / of_encoder,
        machine=machine,
    )


def seconds(actions: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """The median seconds of each action, timed in turns; each is done once before, unmeasured."""
    cpu = torch.device("cpu")
    for action in actions:
        action()
    taken = [[timed(action, cpu) for action in actions] for _ in range(rounds)]
    return [statistics.median(of_action) for of_action in zip(*taken, strict=True)]


def _repeat(compute: Callable[[Tensor], Tensor], tensor: Tensor, times: int) -> None:
    for _ in range(times):
        compute(tensor)
