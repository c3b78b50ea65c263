"""Tunes a prompt of the task `mednist`, says how long that took, and saves it with its card.

    python -m certrad.bench tune-demo-prompt --data mednist.zip --method coop
    python -m certrad.bench tune-demo-prompt --data mednist.zip --method advpt --shots 100
    python -m certrad.bench tune-demo-prompt --data mednist.zip --class-specific --set-default \
        --sigmas 0.1 0.25 0.5 0.75 1

These three made the shipped prompts. The training is the service's; the choice of images is not, it is older than the
service's. What is not named has the value of the paper of the method. Prompts of one seed share their images: those of
the fewer shots are among those of the more.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor
from tqdm import tqdm

from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, LabelledImages
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
from certrad.models.backbones.base import Backbone
from certrad.models.prompts.training.embedding_bank import embedding_bank
from certrad.models.prompts.training.image_choice import VALIDATION_PER_CLASS
from certrad.models.prompts.training.trainer import sample_shots
from certrad.models.prompts.training.tuning import TuningSet, attack_params, finish, tune_epochs
from certrad.models.types import PromptCard
from certrad.models.types.tuning import TuningMethod, TuningParams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_common_arguments(parser)
    parser.add_argument("--method", default="few_shot", choices=get_args(TuningMethod))
    parser.add_argument("--name", help="default: task and method")
    parser.add_argument("--set-default", action="store_true", help="make it the default prompt of the task")
    parser.add_argument("--shots", type=int, help="images of each class; AdvPT takes all unless this is given")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--n-ctx", type=int)
    parser.add_argument("--class-specific", action="store_true")
    parser.add_argument("--sigmas", type=float, nargs="+", help="noise levels of few_shot")
    add_learning(parser)


def run(arguments: argparse.Namespace) -> None:
    """Tune, save, and print the id."""
    use_threads(arguments)
    machine = this_machine()
    print(f"{machine.processor}, {machine.cores} cores, {machine.threads} threads, load {machine.load:g}")
    card = tune(arguments)
    if arguments.set_default:
        make_default("default_prompt", card)
    print(card.id)


def tune(arguments: argparse.Namespace) -> PromptCard:
    """Tunes on the images that the seed chooses and saves the checkpoint with its card."""
    params = tuning_params(arguments)
    backbone = encoder_of(arguments)
    class_names = task().class_names
    data = tuning_set(training_images(arguments), len(class_names), params)
    n_images = len(data.images)
    with timed(f"{params.method}, {n_images} images x {params.epochs} epochs, bank included"):
        bank = _bank(backbone, data, params) if params.method == "advpt" else None
        with tqdm(total=params.epochs, unit="epoch") as progress:
            losses = []
            for state in tune_epochs(backbone, data, class_names, params, bank=bank):
                losses.append(state.loss)
                progress.set_postfix(loss=f"{state.loss:.4f}")
                progress.update()
    with timed(f"validation, {len(data.validation_images)} images, with and without noise"):
        tuned = finish(backbone, data, class_names, params, state, losses)
    return save(
        arguments,
        tuned.context,
        command="tune-demo-prompt",
        name=arguments.name or f"{TASK}-{params.method.replace('_', '-')}",
        method=params.method,
        backbone=backbone,
        tuned_on=record_of(data.images),
        tuning=tuned.tuning,
        measured=tuned.measured,
    )


def tuning_params(arguments: argparse.Namespace) -> TuningParams:
    """The hyper-parameters of the options; those of the paper where there is none."""
    names = ("shots", "epochs", "lr", "batch_size", "n_ctx", "class_specific", "seed", "acquisition")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.sigmas is not None:
        given["sigmas"] = tuple(arguments.sigmas)
    return replace(TuningParams.published(arguments.method), **given)


def tuning_set(images: LabelledImages, n_classes: int, params: TuningParams) -> TuningSet:
    """The shots that the seed chooses, and up to as many others of each class as the service measures on."""
    labels = torch.from_numpy(images.labels)
    shots = len(labels) if params.shots is None else params.shots
    chosen = sample_shots(labels, n_classes, shots, params.seed)
    more = sample_shots(labels, n_classes, shots + VALIDATION_PER_CLASS, params.seed)
    others = more[~torch.isin(more, chosen)]
    # Once more among themselves: the order in which the shipped few-shot prompt met them.
    chosen = chosen[sample_shots(labels[chosen], n_classes, shots, params.seed)]
    return TuningSet(
        images=as_inputs(images, chosen),
        labels=labels[chosen],
        validation_images=as_inputs(images, others),
        validation_labels=labels[others],
    )


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long the block took, by the clock and in processor time of all its threads."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - clock:.1f} s, CPU {time.process_time() - processor:.1f} s")


def _bank(backbone: Backbone, data: TuningSet, params: TuningParams) -> Tensor:
    with tqdm(total=len(data.images), unit="image") as progress, timed(f"bank of {len(data.images)} images"):
        return embedding_bank(
            backbone, data.images, attack_params(params), on_batch=lambda done: progress.update(done - progress.n)
        )
