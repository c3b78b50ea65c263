"""`certrad prompts calibrate`: a prompt adapted to a site's unlabelled images, none of which is ever certified."""

from argparse import Namespace
from dataclasses import asdict

import numpy as np
import torch

from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.errors import Rejected
from certrad.models.prompts.checkpoint import load_prompt, require_backbone, save_prompt
from certrad.models.prompts.store import Folders
from certrad.models.prompts.training.calibration import CalibrationParams, calibrate, pool_sha256
from certrad.models.prompts.zero_shot import initial_context
from certrad.models.types import TEMPLATE_PROMPT, CertifyRequest, ClassifierSpec, PromptCard
from certrad.workers.contract.catalogue import shipped_backbones, shipped_tasks
from certrad.workers.intake.image_folder import distinct_pictures, tell_refused
from certrad.workers.offline.progress import progress_bar
from certrad.workers.settings import WorkerSettings


def calibrate_prompt(options: Namespace, settings: WorkerSettings) -> PromptCard:
    """The card of the adapted prompt, which is in the store then; its pool stands in it by digest only.

    It starts from the prompt that is named or, for `template`, from the words of the task's template.
    Raises ValueError for a folder without images or parameters out of range; Rejected for a prompt or backbone that is
    unknown, or of other weights or classes.
    """
    params = CalibrationParams(sigmas=options.sigmas, seed=options.seed)
    task = shipped_tasks()[options.task]
    card, start_id = shipped_backbones()[task.default_backbone], options.prompt or task.default_prompt
    backbone = load_backbone(card, weights_directory(card, settings.backbones_dir))
    if start_id in (None, TEMPLATE_PROMPT):
        start = initial_context(backbone, task.template, "tokens")
    else:
        folders = Folders(backbones=settings.backbones_dir, prompts=settings.prompts_dir)
        prompt = folders.prompt_card(start_id)
        require_backbone(prompt, backbone)
        if prompt.class_names != task.class_names:
            raise Rejected("prompt_mismatch", f"the classes of prompt {prompt.id!r} are not those of task {task.id!r}")
        start = load_prompt(folders.of_prompt(prompt.id), prompt)
    spec = ClassifierSpec(
        backbone=card.id, prompt=TEMPLATE_PROMPT, class_names=task.class_names, template=task.template
    )
    with progress_bar() as progress:
        bar = progress.add_task("decoding", total=options.limit)
        images, refused = distinct_pictures(
            options.images,
            options.limit,
            CertifyRequest(classifier=spec),
            settings,
            np.copy,
            on_file=lambda: progress.advance(bar),
        )
        tell_refused(refused)
        progress.add_task(f"adapting to {len(images)}", total=None)
        pool = torch.from_numpy(np.stack(images))
        context = calibrate(backbone, pool, task.class_names, start, params)
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
            "start": start_id or TEMPLATE_PROMPT,
            "pool": "without labels",
            "pool_images": len(pool),
            "pool_sha256": pool_sha256(pool),
        },
    )
