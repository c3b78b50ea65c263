"""Common parts of the commands that make prompts of the task `mednist`: options, backbone, images, checkpoint."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from certrad.bench.common.classifier import with_adapter
from certrad.bench.common.mednist import TASK, LabelledImages, read_split
from certrad.bench.common.noisy_images import as_input
from certrad.bench.common.options import add_threads
from certrad.bench.demo.files import write_json
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.weights import file_sha256
from certrad.models.images.input_digests import input_digests
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import save_prompt
from certrad.models.prompts.context import ContextVectors
from certrad.models.shipped import (
    SHIPPED_PROMPTS,
    TASK_CARDS,
    shipped_adapters,
    shipped_backbones,
    shipped_tasks,
)
from certrad.models.types import PromptCard, TaskCard
from certrad.models.types.cards import PromptMethod
from certrad.models.types.rejection import RejectionCard
from certrad.models.types.tuned_on import TunedOn
from certrad.models.types.tuning import Acquisition

TASK_CARD: Final = TASK_CARDS / f"{TASK}.json"
LICENCE: Final = (
    "CC BY-SA 4.0. Tuned on images of MedNIST, gathered from TCIA, the RSNA Bone Age Challenge and the NIH Chest X-ray "
    "data set, prepared by Dr. B. J. Erickson, Mayo Clinic (CC BY-SA 4.0)."
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that all these commands have; `--name` is each one's own."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--seed", type=int, default=0)
    add_threads(parser)


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the commands that learn from labelled images: what is shown, and to which encoder."""
    parser.add_argument("--adapter", choices=sorted(shipped_adapters()), help="default: the frozen image encoder")
    parser.add_argument(
        "--acquisition", choices=get_args(Acquisition), default="none", help="changes of window, background and frame"
    )


def task() -> TaskCard:
    """The card of the task."""
    return shipped_tasks()[TASK]


def backbone_of(arguments: argparse.Namespace, dtype: torch.dtype = torch.float32) -> Backbone:
    """Returns the backbone that the options name."""
    card = shipped_backbones()[arguments.backbone]
    return load_backbone(card, weights_directory(card, arguments.backbones), dtype=dtype)


def encoder_of(arguments: argparse.Namespace, dtype: torch.dtype = torch.float32) -> Backbone:
    """Returns the backbone that the options name, with the image tower of their adapter if they name one."""
    return with_adapter(backbone_of(arguments, dtype), arguments.adapter)


def training_images(arguments: argparse.Namespace) -> LabelledImages:
    """The train split, in the order of its names."""
    return read_split(arguments.data, "train")


def as_inputs(images: LabelledImages, indices: Tensor | npt.NDArray[np.int64]) -> Tensor:
    """Some of the images as model inputs (N, 3, H, W) in [0, 1], so that the others need not be unpacked."""
    pixels = [as_input(images.pixels[index]) for index in indices.tolist()]
    return torch.from_numpy(np.stack(pixels)) if pixels else torch.empty((0, 3, *images.pixels.shape[1:]))


def save(
    arguments: argparse.Namespace,
    prompt: ContextVectors | Bank,
    *,
    command: str,
    name: str,
    method: PromptMethod,
    backbone: Backbone,
    tuned_on: TunedOn,
    tuning: Mapping[str, Any],
    measured: Mapping[str, Any] | None = None,
    rejection: RejectionCard | None = None,
) -> PromptCard:
    """Saves a checkpoint whose card names the command, the data and their licence."""
    return save_prompt(
        arguments.out,
        prompt,
        name=name,
        method=method,
        backbone=backbone,
        class_names=task().class_names,
        task=TASK,
        licence=LICENCE,
        tuning={
            **tuning,
            "command": f"python -m certrad.bench {command}",
            "data": "MedNIST, train split",
            "archive_sha256": file_sha256(arguments.data),
        },
        measured=dict(measured or {}),
        tuned_on=tuned_on,
        rejection=rejection,
    )


def record_of(inputs: Tensor) -> TunedOn:
    """Returns the record of model inputs (N, 3, H, W) of MedNIST, without a key: anyone has the images."""
    return TunedOn(public=tuple(sorted(set(input_digests(inputs)))))


def make_default(field: Literal["default_prompt", "default_bank"], card: PromptCard) -> None:
    """Writes the prompt into the card of the task."""
    document = json.loads(TASK_CARD.read_text(encoding="utf-8"))
    write_json(TASK_CARD, {**document, field: card.id})
