"""Adapts the few-shot prompt of the task `mednist` to a pool of unlabelled images, none of which is ever certified.

    python -m certrad.bench calibrate-prompt --data mednist.zip --out prompts

The pool is of training images, drawn by the seed; their labels are not used. Its digest stands in the card.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from certrad.bench.common.classifier import tuned_on, with_adapter
from certrad.bench.common.mednist import TASK
from certrad.bench.common.options import use_threads
from certrad.bench.demo.common import (
    add_common_arguments,
    as_inputs,
    backbone_of,
    record_of,
    save,
    task,
    training_images,
)
from certrad.models.images.input_digests import pool_sha256
from certrad.models.prompts.checkpoint import load_prompt, prompt_path, read_prompt_card, require_backbone
from certrad.models.prompts.training.calibration import CalibrationParams, calibrate
from certrad.models.shipped import SHIPPED_PROMPTS
from certrad.models.types import PromptCard

DEFAULTS: Final = CalibrationParams()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_common_arguments(parser)
    parser.add_argument("--name", default=f"{TASK}-calibrated")
    parser.add_argument("--prompt", help="what to start from; default: the default prompt of the task")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder it lies in")
    parser.add_argument("--images", type=int, default=128, help="size of the pool")
    parser.add_argument("--sigmas", type=float, nargs="+", default=DEFAULTS.sigmas)
    parser.add_argument("--copies", type=int, default=DEFAULTS.copies)
    parser.add_argument("--steps", type=int, default=DEFAULTS.steps)
    parser.add_argument("--lr", type=float, default=DEFAULTS.lr)


def run(arguments: argparse.Namespace) -> None:
    """Adapt, save, and print the id."""
    use_threads(arguments)
    print(adapt_to_pool(arguments).id)


def adapt_to_pool(arguments: argparse.Namespace) -> PromptCard:
    """Adapt to the pool that the seed draws and save the checkpoint with its card."""
    params = CalibrationParams(
        sigmas=tuple(arguments.sigmas),
        copies=arguments.copies,
        steps=arguments.steps,
        lr=arguments.lr,
        seed=arguments.seed,
    )
    prompt_id = arguments.prompt or task().default_prompt
    if prompt_id is None:
        raise ValueError(f"the task {TASK} has no default prompt; name one with --prompt")
    start = read_prompt_card(prompt_path(arguments.prompts, prompt_id).with_suffix(".json"))
    backbone = with_adapter(backbone_of(arguments), tuned_on([start]))
    require_backbone(start, backbone)
    images = training_images(arguments)
    pool = as_inputs(images, np.random.default_rng(arguments.seed).permutation(len(images))[: arguments.images])
    context = calibrate(backbone, pool, task().class_names, load_prompt(arguments.prompts, start), params)
    return save(
        arguments,
        context,
        command="calibrate-prompt",
        name=arguments.name,
        method="calibrated",
        backbone=backbone,
        tuned_on=record_of(pool).with_start(start.tuned_on),
        tuning={
            **asdict(params),
            "start": start.id,
            "pool": "without labels",
            "pool_images": len(pool),
            "pool_sha256": pool_sha256(pool),
        },
    )
