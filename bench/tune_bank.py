"""Tunes the bank of prompts of the task `mednist`, and its gate, on the shots of the shipped few-shot prompt.

    python -m bench tune-bank --data mednist.zip --set-default

Nothing but those few training images per class is seen: prompts and gate learn from their noisy copies.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from bench.demo_files import write_json
from bench.mednist import read_split
from bench.tune_demo_prompt import LICENCE, TASK, TASK_CARD, few_shots
from models.backbones.base import load_backbone, shipped_backbones, weights_directory
from models.backbones.weights import file_sha256
from models.prompts.bank_tuning import BankParams, tune_bank
from models.prompts.checkpoint import save_prompt
from models.prompts.few_shot import FewShotParams
from models.types import PromptCard
from workers.contract.cards import shipped_tasks

PROMPTS = Path(__file__).parents[1] / "models" / "demo" / "prompts"
DEFAULTS = BankParams(template="{}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, default=PROMPTS, help="folder of prompt checkpoints")
    parser.add_argument("--name", default=f"{TASK}-bank")
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--set-default", action="store_true", help="make it the bank of the task")
    parser.add_argument("--shots", type=int, default=DEFAULTS.shots)
    parser.add_argument("--sigmas", type=float, nargs="+", default=DEFAULTS.sigmas, help="noise levels of the gate")
    parser.add_argument(
        "--member-sigmas", type=float, nargs="+", default=DEFAULTS.member_sigmas, help="two prompts each"
    )
    parser.add_argument("--copies", type=int, default=DEFAULTS.copies, help="noisy copies of a shot at each level")
    parser.add_argument("--epochs", type=int, default=DEFAULTS.epochs, help="of each prompt")
    parser.add_argument("--hidden", type=int, default=DEFAULTS.hidden, help="hidden units of the gate")
    parser.add_argument("--steps", type=int, default=DEFAULTS.steps, help="of the gate")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the image encoder")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")


def run(arguments: argparse.Namespace) -> None:
    """Tune, save, and print the id."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    card = tune(arguments)
    if arguments.set_default:
        task = json.loads(TASK_CARD.read_text(encoding="utf-8"))
        write_json(TASK_CARD, {**task, "default_bank": card.id})
    print(card.id)


def tune(arguments: argparse.Namespace) -> PromptCard:
    """Tune on the shots that the seed chooses and save the checkpoint with its card."""
    task = shipped_tasks()[TASK]
    params = BankParams(
        template=task.template,
        shots=arguments.shots,
        sigmas=tuple(arguments.sigmas),
        member_sigmas=tuple(arguments.member_sigmas),
        copies=arguments.copies,
        epochs=arguments.epochs,
        hidden=arguments.hidden,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    backbone_card = shipped_backbones()[arguments.backbone]
    directory = weights_directory(backbone_card, arguments.backbones)
    backbone = load_backbone(backbone_card, directory, dtype=getattr(torch, arguments.dtype))
    of_shots = FewShotParams(shots=params.shots, seed=params.seed)
    images, labels = few_shots(read_split(arguments.data, "train"), len(task.class_names), of_shots)
    with tqdm(total=len(params.sigmas) + 2 * len(params.member_sigmas) + 1, unit="stage") as progress:

        def on_stage(name: str) -> None:
            progress.set_postfix_str(name)
            progress.update()

        bank = tune_bank(backbone, images, labels, task.class_names, params, on_stage=on_stage)
    return save_prompt(
        arguments.out,
        bank,
        name=arguments.name,
        method="bank",
        backbone=backbone,
        class_names=task.class_names,
        task=TASK,
        licence=LICENCE,
        tuning={
            **asdict(params),
            "command": "python -m bench tune-bank",
            "dtype": arguments.dtype,
            "data": "MedNIST, train split",
            "data_sha256": file_sha256(arguments.data),
            "members": [
                {"sigma": sigma, "start": start} for sigma in params.member_sigmas for start in ("random", "template")
            ],
            "gate_sha256": bank.gate.sha256,
        },
    )
