"""`certrad adapt-encoder`: trains an adapter on unlabelled images, none of which is ever certified with it."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.checkpoint import adapter_of, save_adapter
from certrad.models.adapters.training.agreement import feature_agreement
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.record import training_identity, training_record
from certrad.models.adapters.training.trainer import train_adapter
from certrad.models.adapters.training.trainer_state import AdapterState
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import chosen_device
from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.images.input_digests import input_digests, pool_sha256
from certrad.models.installed import installed_cards
from certrad.models.randomness import seeded
from certrad.models.types import TEMPLATE_PROMPT, AdapterCard, BackboneCard, CertifyRequest, ClassifierSpec, TaskCard
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from certrad.models.types.window import FileWindow
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.engine.adapter_store import publish
from certrad.workers.intake.image_folder import distinct_images, tell_refused
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline.progress import progress_bar
from certrad.workers.offline.service_redis import running_redis
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import StackSettings, WorkerSettings

HELD_OUT_MAX: Final = 64
_HELD_OUT_SHARE: Final = 10
_DEFAULT_TASK: Final = "mednist"


def adapt_encoder(options: Namespace) -> int:
    """Trains an adapter, stores it, publishes it if the service runs, and prints its card.

    Args:
        options: Those of the command.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    settings = settings_of(StackSettings, options.data_dir)
    try:
        card = _adapter_of_folder(options, settings)
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    except (ValueError, OSError) as error:
        return fail(str(error), BAD_USAGE)
    with running_redis(settings, otherwise="the adapter is known once an engine starts") as redis:
        publish(redis, settings.adapters_dir, card)
    sys.stdout.write(json.dumps(asdict(card)) + "\n")
    return DONE


def _adapter_of_folder(options: Namespace, settings: WorkerSettings) -> AdapterCard:
    """Trains an adapter on the images of a folder and stores it.

    Raises:
        ValueError: No file is an image, a card of the operator cannot be used, or there is nothing to resume.
        Rejected: The backbone has no weights, or the training to resume is another one.
        OSError: The disk refuses.
    """
    torch.set_num_threads(settings.threads)
    params = AdapterParams(
        steps=options.steps,
        rank=options.rank,
        sigma_low=options.sigma_low,
        sigma_high=options.sigma_high,
        seed=options.seed,
    )
    cards = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
    card = cards.backbones[options.backbone]
    task = cards.tasks[options.task or card.default_task or _DEFAULT_TASK]
    name = options.name or card.id
    backbone = load_backbone(
        card, weights_directory(card, settings.backbones_dir), device=chosen_device(settings.device)
    )
    training, held_out = divided(_decoded(options, card, task, settings), params.seed)
    identity = training_identity(
        params,
        backbone_sha256=backbone.sha256,
        data_sha256=pool_sha256(training),
        device=backbone.device,
        choice={"task": task.id, "limit": options.limit},
    )
    unfinished = settings.adapters_dir / f"{name}.training"
    state = trained(backbone, training, params, unfinished, identity, resume=options.resume)
    epoch = EpochSecrets(settings.secrets_dir).current()
    stored = save_adapter(
        settings.adapters_dir,
        state.low_rank(),
        state.replaced(),
        name=name,
        backbone=backbone,
        sigma_range=params.sigma_range,
        training=training_record(identity, images=len(training), loss=state.loss),
        measured=measured(backbone, state, params, held_out),
        trained_on=TunedOn(keyed=(EpochDigests.of(epoch.secret, input_digests(training)),)),
    )
    unfinished.unlink(missing_ok=True)
    sys.stderr.write(secrets_note(epoch.sha256, settings.secrets_dir))
    return stored


def secrets_note(epoch_sha256: str, secrets: Path) -> str:
    """Returns a line that says what an engine on another host needs, beside the two files of the adapter.

    Args:
        epoch_sha256: SHA-256 of the secret that the card's digests are keyed with.
        secrets: The folder of the epoch secrets.
    """
    return (
        f"certrad: the card names its images by digests that are keyed with the epoch secret {epoch_sha256[:16]}; an "
        f"engine without that secret refuses the adapter (engine_mismatch): copy {secrets} to it first\n"
    )


def trained(
    backbone: Backbone,
    images: Tensor,
    params: AdapterParams,
    unfinished: Path,
    identity: Mapping[str, Any],
    *,
    resume: bool,
) -> AdapterState:
    """Returns the last state of a training, which keeps each of its states in a file.

    Args:
        backbone: The frozen backbone.
        images: (N, 3, S, S) float32.
        params: The hyper-parameters.
        unfinished: The file of the state.
        identity: See `record.training_identity`.
        resume: Whether to continue from the state in the file.

    Raises:
        ValueError: There is no state to continue from.
        Rejected: The state is that of another training, or cannot be read.
        OSError: The disk refuses.
    """
    start = None
    if resume:
        if not unfinished.exists():
            raise ValueError(f"there is no interrupted training {unfinished.stem!r} to resume; leave `--resume` out")
        start = AdapterState.from_bytes(unfinished.read_bytes(), identity)
    with progress_bar("steps") as progress:
        bar = progress.add_task(f"training on {len(images)} images", total=params.steps)
        for state in train_adapter(backbone, images, params, resume=start):
            replace_file(unfinished, state.to_bytes(identity))
            progress.update(bar, completed=state.step, description=f"loss {state.loss:.4f}")
    return state


def divided(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the images to train on, and those to measure on: a tenth of them, 64 at most.

    Args:
        images: (N, 3, S, S).
        seed: Random seed of the choice.
    """
    order = torch.randperm(len(images), generator=seeded(seed, "held out"))
    held_out = min(HELD_OUT_MAX, len(images) // _HELD_OUT_SHARE)
    return images[order[held_out:].sort().values], images[order[:held_out].sort().values]


def measured(backbone: Backbone, state: AdapterState, params: AdapterParams, held_out: Tensor) -> dict[str, Any]:
    """Returns the agreement of noisy with clean features on images that were held out; nothing without any.

    Args:
        backbone: The frozen backbone.
        state: The last state of the training.
        params: The hyper-parameters.
        held_out: (N, 3, S, S).
    """
    if not len(held_out):
        return {}
    low_rank, replaced = state.low_rank(), state.replaced()
    adapter = adapter_of(low_rank, replaced, name=backbone.card.id, backbone=backbone, sigma_range=params.sigma_range)
    return {"held_out": feature_agreement(backbone, adapted(backbone, adapter), held_out, seed=params.seed)}


def _decoded(options: Namespace, card: BackboneCard, task: TaskCard, settings: WorkerSettings) -> Tensor:
    """Returns the distinct images of the folder as model inputs (N, 3, S, S), and tells what was left out."""
    spec = ClassifierSpec(
        backbone=card.id, prompt=TEMPLATE_PROMPT, class_names=task.class_names, template=task.template
    )
    with progress_bar() as progress:
        bar = progress.add_task("decoding", total=options.limit)
        images, refused = distinct_images(
            options.images,
            options.limit,
            CertifyRequest(classifier=spec, window=FileWindow.of_task(task.windows)),
            card,
            settings,
            np.copy,
            on_file=lambda: progress.advance(bar),
        )
    tell_refused(refused)
    return torch.from_numpy(np.stack(images))
