"""The classifier that the service answers with by default."""

from collections.abc import Callable
from pathlib import Path

import torch

from certrad.bench.common.mednist import PROMPTS, TASK
from certrad.models.backbones.base import load_backbone, shipped_backbones, weights_directory
from certrad.models.backbones.device import chosen_dtype
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts.checkpoint import load_prompt_or_bank, prompt_path, read_prompt_card, require_backbone
from certrad.workers.contract.catalogue import shipped_tasks


def default_classifier(dtype: str) -> Callable[[float], VisionLanguageClassifier]:
    """The base classifier at each sigma that serves the task when a request names nothing."""
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[task.default_backbone]
    backbone = load_backbone(
        card, weights_directory(card, Path("backbones")), dtype=chosen_dtype(dtype, torch.device("cpu"))
    )
    if (prompt_id := task.default_bank or task.default_prompt) is None:
        raise ValueError(f"the task {TASK} needs a default prompt, got none")
    prompt = read_prompt_card(prompt_path(PROMPTS, prompt_id).with_suffix(".json"))
    require_backbone(prompt, backbone)
    head = TextHead.of_prompt(backbone, task.class_names, load_prompt_or_bank(PROMPTS, prompt))
    return lambda sigma: head.classifier(backbone, sigma)
