"""`certrad prompts calibrate`: adapts a prompt to a site's unlabelled images, none of which is ever certified."""

from argparse import Namespace
from dataclasses import asdict

import numpy as np
import torch

from certrad.models.adapters.store import AdapterStore
from certrad.models.images.input_digests import input_digests, pool_sha256
from certrad.models.installed import installed_cards
from certrad.models.prompts.checkpoint import load_prompt, require_backbone, save_prompt
from certrad.models.prompts.store import PromptStore
from certrad.models.prompts.training.calibration import CalibrationParams, calibrate
from certrad.models.prompts.zero_shot import initial_context
from certrad.models.types import TEMPLATE_PROMPT, CertifyRequest, ClassifierSpec, PromptCard
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from certrad.models.types.window import FileWindow
from certrad.workers.intake.image_folder import distinct_images, tell_refused
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline.classifiers import load_encoder, of_task
from certrad.workers.offline.progress import progress_bar
from certrad.workers.settings import WorkerSettings


def calibrate_prompt(options: Namespace, settings: WorkerSettings) -> PromptCard:
    """Adapts a prompt and stores the result.

    It starts from the named prompt or, for `template`, from the words of the task's template.

    Returns:
        The card, which holds the images by digest only.

    Raises:
        ValueError: The folder has no images, a parameter is out of range, or a card of the operator cannot be used.
        Rejected: The prompt or backbone is unknown, or has other weights or classes.
    """
    params = CalibrationParams(sigmas=options.sigmas, seed=options.seed)
    cards = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
    task = cards.tasks[options.task]
    store = PromptStore(own=settings.prompts_dir)
    adapters = AdapterStore(own=settings.adapters_dir)
    choice = of_task(
        task, store, cards.prompts, adapters, prompt=options.prompt, adapter=options.adapter, adaptation="none"
    )  # one prompt: a bank cannot be adapted
    card = cards.backbones[choice.backbone]
    backbone = load_encoder(card, choice.adapter, settings)
    if choice.prompt is None:
        start = initial_context(backbone, task.template, "tokens")
    else:
        require_backbone(choice.prompt, backbone)
        start = load_prompt(store.folder(choice.prompt.id) or store.own, choice.prompt)
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
        progress.add_task(f"adapting to {len(images)}", total=None)
        pool = torch.from_numpy(np.stack(images))
        context = calibrate(backbone, pool, task.class_names, start, params)
    epoch = EpochSecrets(settings.secrets_dir).current()
    tuned_on = TunedOn(keyed=(EpochDigests.of(epoch.secret, input_digests(pool)),))
    return save_prompt(
        settings.prompts_dir,
        context,
        name=options.name,
        method="calibrated",
        backbone=backbone,
        class_names=task.class_names,
        task=task.id,
        tuning={
            **asdict(params),
            "start": choice.prompt_id,
            "pool": "without labels",
            "pool_images": len(pool),
            "pool_sha256": pool_sha256(pool),
        },
        tuned_on=tuned_on if choice.prompt is None else tuned_on.with_start(choice.prompt.tuned_on),
    )
