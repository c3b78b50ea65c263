"""The classifier that the service answers with by default."""

from collections.abc import Callable
from pathlib import Path

import torch

from certrad.bench.common.mednist import TASK
from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.checkpoint import load_adapter
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts.checkpoint import load_prompt_or_bank, require_backbone
from certrad.models.shipped import (
    SHIPPED_ADAPTERS,
    SHIPPED_PROMPTS,
    shipped_adapters,
    shipped_backbones,
    shipped_prompts,
    shipped_tasks,
)
from certrad.models.types.defaults import choose_classifier, default_prompts


def default_classifier(dtype: str) -> Callable[[float], VisionLanguageClassifier]:
    """The base classifier at each sigma that serves the task when a request names nothing."""
    task = shipped_tasks()[TASK]
    choice = choose_classifier(
        class_names=task.class_names,
        candidates=default_prompts(task, shipped_prompts()),
        default_backbone=task.default_backbone,
        adapters=shipped_adapters(),
        default_adapter=task.default_adapter,
    )
    if (prompt := choice.prompt) is None:
        raise ValueError(f"the task {TASK} needs a default prompt, got none")
    card = shipped_backbones()[choice.backbone]
    backbone = load_backbone(
        card, weights_directory(card, Path("backbones")), dtype=chosen_dtype(dtype, torch.device("cpu"))
    )
    if choice.adapter is not None:
        backbone = adapted(backbone, load_adapter(SHIPPED_ADAPTERS, choice.adapter))
    require_backbone(prompt, backbone)
    head = TextHead.of_prompt(backbone, task.class_names, load_prompt_or_bank(SHIPPED_PROMPTS, prompt))
    return lambda sigma: head.classifier(backbone, sigma)
