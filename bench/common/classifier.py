"""The classifier that the service answers with by default, and the image encoder that prompts were tuned on."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from certrad.bench.common.mednist import TASK
from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts.bank import answers
from certrad.models.prompts.checkpoint import load_prompt_or_bank, require_backbone
from certrad.models.shipped import (
    SHIPPED_ADAPTERS,
    SHIPPED_PROMPTS,
    shipped_adapters,
    shipped_backbones,
    shipped_prompts,
    shipped_tasks,
)
from certrad.models.types import PromptCard
from certrad.models.types.defaults import ClassifierChoice, choose_classifier, default_prompts


def default_choice() -> ClassifierChoice:
    """Returns what a request of the task means that names nothing else."""
    task = shipped_tasks()[TASK]
    return choose_classifier(
        class_names=task.class_names,
        candidates=default_prompts(task, shipped_prompts()),
        default_backbone=task.default_backbone,
        adapters=shipped_adapters(),
        default_adapter=task.default_adapter,
    )


def with_adapter(backbone: Backbone, adapter_id: str | None) -> Backbone:
    """Returns the backbone with a shipped adapter in its image tower; as it is where none is named."""
    if adapter_id is None:
        return backbone
    adapters = AdapterStore(own=SHIPPED_ADAPTERS)
    return adapted(backbone, adapters.load(adapters.card(adapter_id)))


def tuned_on(cards: Iterable[PromptCard]) -> str | None:
    """Returns the id of the adapter that some prompts go with; None where all were tuned on the frozen tower.

    Raises:
        ValueError: They were tuned on two adapters, so that no image tower serves them all.
    """
    named = {card.adapter for card in cards} - {None}
    if len(named) > 1:
        raise ValueError(f"the prompts must go with one adapter, got {sorted(map(str, named))}")
    return next(iter(named), None)


def default_encoder(dtype: torch.dtype) -> Backbone:
    """Returns the image encoder, and the text encoder beside it, that serve the task when a request names nothing."""
    choice = default_choice()
    card = shipped_backbones()[choice.backbone]
    backbone = load_backbone(card, weights_directory(card, Path("backbones")), dtype=dtype)
    return with_adapter(backbone, choice.adapter_id)


def default_classifier(dtype: str) -> Callable[[float], VisionLanguageClassifier]:
    """The base classifier at each sigma that serves the task when a request names nothing."""
    if (prompt := default_choice().prompt) is None:
        raise ValueError(f"the task {TASK} needs a default prompt, got none")
    return shipped_classifier(prompt, dtype)


def shipped_classifier(prompt: PromptCard, dtype: str) -> Callable[[float], VisionLanguageClassifier]:
    """The base classifier at each sigma of a shipped prompt or bank that goes with the default encoder."""
    backbone = default_encoder(chosen_dtype(dtype, torch.device("cpu")))
    require_backbone(prompt, backbone)
    learned = load_prompt_or_bank(SHIPPED_PROMPTS, prompt)
    head = TextHead.of_prompt(backbone, answers(learned, shipped_tasks()[TASK].class_names), learned)
    return lambda sigma: head.classifier(backbone, sigma)
