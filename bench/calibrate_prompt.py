"""Adapts the few-shot prompt of the task `mednist` to a pool of unlabelled images, none of which is ever certified.

    python -m bench calibrate-prompt --data mednist.zip --out prompts

The pool is of training images, drawn by the seed; their labels are not used. Its digest stands in the card.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from bench.mednist import read_split
from bench.noisy_images import as_input
from bench.tune_demo_prompt import LICENCE, TASK
from models.backbones.base import load_backbone, shipped_backbones, weights_directory
from models.backbones.weights import file_sha256
from models.prompts.calibration import CalibrationParams, calibrate, pool_sha256
from models.prompts.checkpoint import load_prompt, prompt_path, read_prompt_card, require_backbone, save_prompt
from models.types import PromptCard
from workers.contract.cards import shipped_tasks

PROMPTS = Path(__file__).parents[1] / "models" / "demo" / "prompts"
DEFAULTS = CalibrationParams()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="folder of prompt checkpoints")
    parser.add_argument("--name", default=f"{TASK}-calibrated")
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--prompt", help="what to start from; default: the default prompt of the task")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="folder it lies in")
    parser.add_argument("--images", type=int, default=128, help="size of the pool")
    parser.add_argument("--sigmas", type=float, nargs="+", default=DEFAULTS.sigmas)
    parser.add_argument("--copies", type=int, default=DEFAULTS.copies)
    parser.add_argument("--steps", type=int, default=DEFAULTS.steps)
    parser.add_argument("--lr", type=float, default=DEFAULTS.lr)
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")


def run(arguments: argparse.Namespace) -> None:
    """Adapt, save, and print the id."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(adapt_to_pool(arguments).id)


def adapt_to_pool(arguments: argparse.Namespace) -> PromptCard:
    """Adapt to the pool that the seed draws and save the checkpoint with its card."""
    task = shipped_tasks()[TASK]
    params = CalibrationParams(
        sigmas=tuple(arguments.sigmas),
        copies=arguments.copies,
        steps=arguments.steps,
        lr=arguments.lr,
        seed=arguments.seed,
    )
    backbone_card = shipped_backbones()[arguments.backbone]
    backbone = load_backbone(backbone_card, weights_directory(backbone_card, arguments.backbones))
    prompt_id = arguments.prompt or task.default_prompt
    if prompt_id is None:
        raise ValueError(f"the task {TASK} has no default prompt; name one with --prompt")
    start = read_prompt_card(prompt_path(arguments.prompts, prompt_id).with_suffix(".json"))
    require_backbone(start, backbone)
    pool = _pool(arguments.data, arguments.images, arguments.seed)
    context = calibrate(backbone, pool, task.class_names, load_prompt(arguments.prompts, start), params)
    return save_prompt(
        arguments.out,
        context,
        name=arguments.name,
        method="calibrated",
        backbone=backbone,
        class_names=task.class_names,
        task=TASK,
        licence=LICENCE,
        tuning={
            **asdict(params),
            "command": "python -m bench calibrate-prompt",
            "start": start.id,
            "pool": "MedNIST, train split, without labels",
            "pool_images": len(pool),
            "pool_sha256": pool_sha256(pool),
            "data_sha256": file_sha256(arguments.data),
        },
    )


def _pool(archive: Path, size: int, seed: int) -> torch.Tensor:
    """Random training images (N, 3, H, W) in [0, 1]; at most as many as there are."""
    images = read_split(archive, "train").pixels
    chosen = np.random.default_rng(seed).permutation(len(images))[:size]
    return torch.from_numpy(np.stack([as_input(image) for image in images[chosen]]))
