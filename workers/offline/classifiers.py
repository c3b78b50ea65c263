"""Chooses the classifier of a command by the service's own rule, and loads its image encoder."""

import sys
from collections.abc import Mapping

import torch

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import loading_dtype
from certrad.models.backbones.openvino_tower import in_precision
from certrad.models.errors import Rejected
from certrad.models.prompts.store import PromptStore
from certrad.models.types import TEMPLATE_PROMPT, AdapterCard, BackboneCard, PromptCard, TaskCard
from certrad.models.types.defaults import (
    BARE_TEMPLATE,
    AdaptationName,
    ClassifierChoice,
    NamedAdapter,
    NamedPrompt,
    choose_classifier,
    default_prompts,
)
from certrad.models.types.request import NO_ADAPTER
from certrad.workers.settings import WorkerSettings


def named_prompt(name: str | None, store: PromptStore) -> NamedPrompt | None:
    """Returns the prompt that an option names, or None if it names none.

    Raises:
        Rejected: prompt_not_found, invalid_checkpoint.
    """
    if name is None:
        return None
    return "template" if name == TEMPLATE_PROMPT else store.card(name)


def named_adapter(name: str | None, store: AdapterStore) -> NamedAdapter | None:
    """Returns the adapter that an option names, or None if it names none.

    Raises:
        Rejected: adapter_not_found, invalid_adapter.
    """
    if name is None:
        return None
    return "none" if name == NO_ADAPTER else store.card(name)


def stored_adapters(store: AdapterStore) -> dict[str, AdapterCard]:
    """Returns the adapters on this machine by id, and tells of each card that cannot be used.

    Args:
        store: The adapters on this machine.
    """
    cards = {}
    for path in (path for folder in (store.own, store.shipped) for path in sorted(folder.glob("*.json"))):
        try:
            cards[path.stem] = store.card(path.stem)
        except Rejected as rejected:
            sys.stderr.write(f"warning: the adapter {path.stem} is left out: {rejected.detail}\n")
    return cards


def of_task(
    task: TaskCard,
    store: PromptStore,
    known: Mapping[str, PromptCard],
    adapters: AdapterStore,
    *,
    backbone: str | None = None,
    prompt: str | None = None,
    adaptation: AdaptationName | None = None,
    adapter: str | None = None,
) -> ClassifierChoice:
    """Returns the classifier of a request for a task, with the defaults of its card: others are set in the service.

    Args:
        task: The task.
        store: The prompts on this machine.
        known: The prompts by id that tasks may use by default.
        adapters: The adapters on this machine.
        backbone: The named backbone.
        prompt: The named prompt.
        adaptation: The named adaptation.
        adapter: The named adapter, or `none`.

    Raises:
        Rejected: prompt_mismatch, prompt_not_found, invalid_checkpoint, adapter_mismatch, adapter_not_found,
            invalid_adapter.
    """
    return choose_classifier(
        class_names=task.class_names,
        candidates=default_prompts(task, known),
        default_backbone=task.default_backbone,
        backbone=backbone,
        prompt=named_prompt(prompt, store),
        adaptation=adaptation,
        adapter=named_adapter(adapter, adapters),
        adapters=stored_adapters(adapters),
        default_adapter=task.default_adapter,
    )


def hand_written(wish: str | None, of_data: str | None, choice: ClassifierChoice) -> str:
    """Returns the hand-written template; a learned prompt needs none.

    Args:
        wish: What `--template` names.
        of_data: The template of the data set.
        choice: The classifier.

    Raises:
        ValueError: There is no template, or one beside a learned prompt.
    """
    if choice.prompt is not None and wish is not None:
        raise ValueError(
            f"`--template` goes with `--prompt template` only; without it the prompt is {choice.prompt_id}"
        )
    template = BARE_TEMPLATE if choice.prompt is not None else wish or of_data
    if template is None:
        raise ValueError("these images come without a template: give `--template` or a learned `--prompt`")
    return template


def load_encoder(
    card: BackboneCard,
    adapter: AdapterCard | None,
    settings: WorkerSettings,
    *,
    device: torch.device | str = "cpu",
    dtype: str = "float32",
) -> Backbone:
    """Returns a backbone, with an adapter merged into its image encoder if one is chosen.

    Args:
        card: The card of the backbone.
        adapter: The card of the adapter; None for the frozen encoder.
        settings: Name the folders of both.
        device: The device.
        dtype: The name of the precision of the image encoder.

    Raises:
        Rejected: A file is missing, damaged or another one, the adapter is of other weights, or this machine cannot
            compute in the precision.
    """
    directory = weights_directory(card, settings.backbones_dir)
    frozen = load_backbone(card, directory, device=device, dtype=loading_dtype(dtype))
    store = AdapterStore(own=settings.adapters_dir)
    return in_precision(frozen if adapter is None else adapted(frozen, store.load(adapter)), dtype)
