"""Tunes the bank of prompts of the task `mednist`, and its gate, on the shots of the shipped few-shot prompt.

    python -m certrad.bench tune-bank --data mednist.zip --set-default

Nothing but those few training images per class is seen: prompts and gate learn from their noisy copies.
"""

import argparse
from dataclasses import asdict, replace
from typing import Any, Final

import torch
from tqdm import tqdm

from certrad.bench.common.kept_banks import kept, other_images
from certrad.bench.common.mednist import TASK
from certrad.bench.common.noisy_images import prompt_card
from certrad.bench.common.options import use_threads
from certrad.bench.demo.common import (
    add_common_arguments,
    add_learning,
    as_inputs,
    encoder_of,
    make_default,
    record_of,
    save,
    task,
    training_images,
)
from certrad.models.prompts.training.acquisition import RANGES, AcquisitionRanges
from certrad.models.prompts.training.bank import BankParams, tune_bank
from certrad.models.prompts.training.rejection import RejectionParams, tune_rejection
from certrad.models.prompts.training.trainer import sample_shots
from certrad.models.types import PromptCard

DEFAULTS: Final = BankParams(template="{}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_common_arguments(parser)
    parser.add_argument("--name", default=f"{TASK}-bank")
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
    add_learning(parser)
    parser.add_argument(
        "--rejection", type=float, metavar="E", help="add the extra class; share of noisy known images that may get it"
    )
    parser.add_argument("--bank", help="bank whose prompts and gate are kept; default: a new one is tuned")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the image encoder")


def run(arguments: argparse.Namespace) -> None:
    """Tune, save, and print the id."""
    use_threads(arguments)
    card = tune(arguments)
    if arguments.set_default:
        make_default("default_bank", card)
    print(card.id)


def tune(arguments: argparse.Namespace) -> PromptCard:
    """Tunes on the shots that the seed chooses and saves the checkpoint with its card."""
    class_names = task().class_names
    params = BankParams(
        template=task().template,
        shots=arguments.shots,
        sigmas=tuple(arguments.sigmas),
        member_sigmas=tuple(arguments.member_sigmas),
        copies=arguments.copies,
        epochs=arguments.epochs,
        hidden=arguments.hidden,
        steps=arguments.steps,
        seed=arguments.seed,
        acquisition=RANGES[arguments.acquisition],
    )
    backbone = encoder_of(arguments, getattr(torch, arguments.dtype))
    images = training_images(arguments)
    labels = torch.from_numpy(images.labels)
    # So that only the shots are unpacked; `tune_bank` then finds no more than them.
    shots = sample_shots(labels, len(class_names), params.shots, params.seed)
    inputs = as_inputs(images, shots)
    facts: dict[str, Any] = {}
    with tqdm(unit="stage") as progress:

        def on_stage(name: str) -> None:
            progress.set_postfix_str(name)
            progress.update()

        if arguments.bank is None:
            bank = tune_bank(backbone, inputs, labels[shots], class_names, params, on_stage=on_stage)
        else:
            card = prompt_card(arguments.out, arguments.bank)
            bank, facts = replace(kept(backbone, card, arguments.out), rejection=None), {**card.tuning, "bank": card.id}
            params = replace(params, acquisition=AcquisitionRanges.from_card(card.tuning["acquisition"]))
        rejection, tuned_on = None, record_of(inputs)
        if arguments.rejection is not None:
            extra = RejectionParams(false_rejections=arguments.rejection, seed=params.seed)
            others = [as_inputs(images, each) for each in other_images(labels, shots, params.seed)]
            texts = bank.text_features(backbone, class_names)
            bank, rejection = tune_rejection(
                backbone, bank, texts, (inputs, labels[shots]), (others[0], others[1]), extra, params, on_stage=on_stage
            )
            tuned_on = record_of(torch.cat([inputs, others[0]]))
            facts |= {"rejection": asdict(extra), "rejection_dtype": arguments.dtype}
    return save(
        arguments,
        bank,
        command="tune-bank",
        name=arguments.name,
        method="bank",
        backbone=backbone,
        tuned_on=tuned_on,
        rejection=rejection,
        tuning={
            **asdict(params),
            "dtype": arguments.dtype,
            "members": [
                {"sigma": sigma, "start": start} for sigma in params.member_sigmas for start in ("random", "template")
            ],
            "gate_sha256": bank.gate.sha256,
            **facts,
        },
    )
