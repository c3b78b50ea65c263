"""Tunes a prompt of the task `mednist` on a few training images per class with the service's own trainer.

    python -m bench tune-demo-prompt --data mednist.zip --out models/demo/prompts --set-default

The defaults are the hyper-parameters of PromptSmooth (MICCAI 2024); without `--sigmas` it is CoOp.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.demo_files import write_json
from bench.mednist import LabelledImages, read_split
from bench.noisy_images import as_input
from models.backbones.base import load_backbone, shipped_backbones, weights_directory
from models.backbones.weights import file_sha256
from models.prompts.checkpoint import save_prompt
from models.prompts.few_shot import FewShotParams, sample_shots, train
from models.types import PromptCard
from workers.contract.cards import shipped_tasks

DEFAULTS = FewShotParams()
TASK = "mednist"
TASK_CARD = Path(__file__).parents[1] / "models" / "tasks" / f"{TASK}.json"
LICENCE = (
    "CC BY-SA 4.0. Tuned on images of MedNIST, gathered from TCIA, the RSNA Bone Age Challenge and the NIH Chest X-ray "
    "data set, prepared by Dr. B. J. Erickson, Mayo Clinic (CC BY-SA 4.0)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="folder of prompt checkpoints")
    parser.add_argument("--name", help="default: mednist-few-shot, or mednist-coop without noise")
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--set-default", action="store_true", help="make it the default prompt of the task")
    parser.add_argument("--shots", type=int, default=DEFAULTS.shots)
    parser.add_argument("--epochs", type=int, default=DEFAULTS.epochs)
    parser.add_argument("--lr", type=float, default=DEFAULTS.lr)
    parser.add_argument("--batch-size", type=int, default=DEFAULTS.batch_size)
    parser.add_argument("--n-ctx", type=int, default=DEFAULTS.n_ctx)
    parser.add_argument("--class-specific", action="store_true")
    parser.add_argument("--sigmas", type=float, nargs="*", default=DEFAULTS.sigmas, help="none: CoOp")
    parser.add_argument("--augment", action="store_true", help="random crop and flip, as CoOp")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")


def run(arguments: argparse.Namespace) -> None:
    """Tune, save, and print the id."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    card = tune(arguments)
    if arguments.set_default:
        task = json.loads(TASK_CARD.read_text(encoding="utf-8"))
        write_json(TASK_CARD, {**task, "default_prompt": card.id})
    print(card.id)


def tune(arguments: argparse.Namespace) -> PromptCard:
    """Tune on the shots that the seed chooses and save the checkpoint with its card."""
    params = few_shot_params(arguments)
    method = "few_shot" if params.sigmas else "coop"
    backbone_card = shipped_backbones()[arguments.backbone]
    backbone = load_backbone(backbone_card, weights_directory(backbone_card, arguments.backbones))
    class_names = shipped_tasks()[TASK].class_names
    images, labels = few_shots(read_split(arguments.data, "train"), len(class_names), params)
    with tqdm(total=params.epochs, unit="epoch") as progress:

        def on_epoch(_: int, loss: float) -> None:
            progress.set_postfix(loss=f"{loss:.4f}")
            progress.update()

        context = train(backbone, images, labels, class_names, params, on_epoch=on_epoch)
    return save_prompt(
        arguments.out,
        context,
        name=arguments.name or f"{TASK}-{method.replace('_', '-')}",
        method=method,  # type: ignore[arg-type]
        backbone=backbone,
        class_names=class_names,
        task=TASK,
        licence=LICENCE,
        tuning={
            **asdict(params),
            "command": "python -m bench tune-demo-prompt",
            "data": "MedNIST, train split",
            "data_sha256": file_sha256(arguments.data),
        },
    )


def few_shot_params(arguments: argparse.Namespace) -> FewShotParams:
    """The hyper-parameters of the options."""
    return FewShotParams(
        shots=arguments.shots,
        epochs=arguments.epochs,
        lr=arguments.lr,
        batch_size=arguments.batch_size,
        n_ctx=arguments.n_ctx,
        class_specific=arguments.class_specific,
        sigmas=tuple(arguments.sigmas),
        augment=arguments.augment,
        seed=arguments.seed,
    )


def few_shots(images: LabelledImages, n_classes: int, params: FewShotParams) -> tuple[Tensor, Tensor]:
    """The images (N, 3, H, W) in [0, 1] and labels (N,) of the shots, so that the others need not be unpacked."""
    labels = torch.from_numpy(images.labels)
    chosen = sample_shots(labels, n_classes, params.shots, params.seed)
    pixels = np.stack([as_input(image) for image in images.pixels[chosen.numpy()]])
    return torch.from_numpy(pixels), labels[chosen]
