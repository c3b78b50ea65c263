"""The training of an adapter on MedNIST training images, whose labels are not looked at."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from tqdm import tqdm

from certrad.bench.common.mednist import TASK, LabelledImages, read_split
from certrad.bench.common.noisy_images import as_input
from certrad.bench.common.options import add_threads
from certrad.models.adapters.adapter import Adapter, adapted
from certrad.models.adapters.checkpoint import adapter_of
from certrad.models.adapters.training.agreement import feature_agreement
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.record import training_identity, training_record
from certrad.models.adapters.training.trainer import train_adapter
from certrad.models.adapters.training.trainer_state import AdapterState
from certrad.models.backbones.base import Backbone
from certrad.models.files import replace_file
from certrad.models.images.input_digests import input_digests, pool_sha256
from certrad.models.randomness import seeded

NAME: Final = "mednist-noise"
HELD_OUT: Final = 204
_DEFAULTS: Final = AdapterParams()


def add_training(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the training."""
    parser.add_argument("--training-images", type=int, default=3000, help="images of the train split, at random")
    parser.add_argument("--steps", type=int, default=_DEFAULTS.steps)
    parser.add_argument("--rank", type=int, default=_DEFAULTS.rank)
    parser.add_argument("--lr", type=float, default=_DEFAULTS.lr, help="greatest learning rate")
    parser.add_argument("--sigma-low", type=float, default=_DEFAULTS.sigma_low)
    parser.add_argument("--sigma-high", type=float, default=_DEFAULTS.sigma_high)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("adapter.training"),
        help="scratch file, from which a stopped training goes on",
    )
    add_threads(parser)


def adapter_on_mednist(arguments: argparse.Namespace, backbone: Backbone) -> tuple[Adapter, Tensor]:
    """Returns an adapter that is trained on random images of the train split, and these; a stopped training goes on.

    Raises:
        Rejected: The state is that of another training.
    """
    params = AdapterParams(
        steps=arguments.steps,
        rank=arguments.rank,
        sigma_low=arguments.sigma_low,
        sigma_high=arguments.sigma_high,
        lr=arguments.lr,
        seed=arguments.seed,
    )
    inputs, held_out = chosen_inputs(read_split(arguments.data, "train"), arguments.training_images, params.seed)
    identity = training_identity(
        params,
        backbone_sha256=backbone.sha256,
        data_sha256=pool_sha256(inputs),
        device=backbone.device,
        choice={"task": TASK, "limit": arguments.training_images},
    )
    start = AdapterState.from_bytes(arguments.state.read_bytes(), identity) if arguments.state.exists() else None
    with tqdm(total=params.steps, unit="step") as progress:
        for state in train_adapter(backbone, inputs, params, resume=start):
            replace_file(arguments.state, state.to_bytes(identity))
            progress.set_postfix(loss=f"{state.loss:.4f}")
            progress.update(state.step - progress.n)
    adapter = adapter_of(
        state.low_rank(), state.replaced(), name=NAME, backbone=backbone, sigma_range=params.sigma_range
    )
    card = replace(
        adapter.card,
        training=training_record(identity, images=len(inputs), loss=state.loss),
        measured={"held_out": feature_agreement(backbone, adapted(backbone, adapter), held_out, seed=params.seed)},
    )
    return replace(adapter, card=card), inputs


def chosen_inputs(images: LabelledImages, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the model inputs of random images to train on and of others to measure on, no two of them equal.

    Args:
        images: The train split, in which an image may lie several times.
        number: Images to train on.
        seed: Random seed of the choice.

    Raises:
        ValueError: There are too few images.
    """
    distinct: dict[str, Tensor] = {}
    for index in torch.randperm(len(images), generator=seeded(seed, "adapter images")).tolist():
        if len(distinct) == number + HELD_OUT:
            break
        image = torch.from_numpy(as_input(images.pixels[index]))
        distinct.setdefault(input_digests(image[None])[0], image)
    if not 1 <= number < len(distinct):
        raise ValueError(
            f"there must be an image to train on and another one, got {number} of {len(distinct)} distinct ones"
        )
    inputs = torch.stack(list(distinct.values()))
    return inputs[:number], inputs[number:]
