"""Chooses the classifier of a command by the service's own rule."""

from collections.abc import Mapping

from certrad.models.prompts.store import PromptStore
from certrad.models.types import TEMPLATE_PROMPT, PromptCard, TaskCard
from certrad.models.types.defaults import (
    AdaptationName,
    ClassifierChoice,
    NamedPrompt,
    choose_classifier,
    default_prompts,
)


def named_prompt(name: str | None, store: PromptStore) -> NamedPrompt | None:
    """Returns the prompt that an option names, or None if it names none.

    Raises:
        Rejected: prompt_not_found, invalid_checkpoint.
    """
    if name is None:
        return None
    return "template" if name == TEMPLATE_PROMPT else store.card(name)


def of_task(
    task: TaskCard,
    store: PromptStore,
    known: Mapping[str, PromptCard],
    *,
    backbone: str | None = None,
    prompt: str | None = None,
    adaptation: AdaptationName | None = None,
) -> ClassifierChoice:
    """Returns the classifier of a request for a task, with the defaults of its card: others are set in the service.

    Args:
        task: The task.
        store: The prompts on this machine.
        known: The prompts by id that tasks may use by default.
        backbone: The named backbone.
        prompt: The named prompt.
        adaptation: The named adaptation.

    Raises:
        Rejected: prompt_mismatch, prompt_not_found, invalid_checkpoint.
    """
    return choose_classifier(
        class_names=task.class_names,
        candidates=default_prompts(task, known),
        default_backbone=task.default_backbone,
        backbone=backbone,
        prompt=named_prompt(prompt, store),
        adaptation=adaptation,
    )
