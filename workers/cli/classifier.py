"""The rule that the options of a command must name a classifier: checked on cards alone, before torch is loaded."""

import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from certrad.models.errors import Rejected
from certrad.models.installed import CardError, Cards
from certrad.models.shipped import shipped_adapters, shipped_datasets, shipped_prompts, shipped_tasks
from certrad.models.types import TEMPLATE_PROMPT, AdapterCard, PromptCard
from certrad.models.types.codec import decode_card
from certrad.models.types.defaults import choose_classifier, default_prompts
from certrad.models.types.request import NO_ADAPTER
from certrad.workers.cli.common import own_cards_of
from certrad.workers.contract.arguments import Check

_FIELD = re.compile(r"`(backbone|prompt|adaptation|adapter)\b")


def require_classifier() -> Check:
    """Returns the rule for commands with a `--task` that names a task."""
    return lambda options: _problems(options, options.task)


def require_classifier_of_data(options: Namespace) -> Iterator[str]:
    """Yields what is wrong with the classifier of `evaluate`, whose `--task` names a data set."""
    data = shipped_datasets().get(options.task)
    if data is None:
        yield from _problems(options, options.task)
        return
    if data.task is not None:
        yield from _problems(options, data.task)
        return
    card = _card(options)
    if card is not None:
        return
    if options.backbone is None and data.default_backbone is None:
        yield f"`--backbone` must be given: the data set {data.id} has no default backbone"
    if options.template is None and data.template is None:
        yield f"`--template` or a learned `--prompt` must be given: the data set {data.id} has no template"


def _problems(options: Namespace, task_id: str) -> Iterator[str]:
    cards = _cards(options, task_id)
    task = cards.tasks.get(task_id)
    named = getattr(options, "prompt", None)
    card = _card(options)
    if task is None or (named not in (None, TEMPLATE_PROMPT) and card is None):  # another rule tells of these
        return
    wish, adapters = options.adapter or "", _adapters(options)
    try:
        choose_classifier(
            class_names=task.class_names,
            candidates=default_prompts(task, cards.prompts),
            default_backbone=task.default_backbone,
            backbone=getattr(options, "backbone", None),
            prompt="template" if named == TEMPLATE_PROMPT else card,
            adaptation=getattr(options, "adaptation", None),
            adapter=NO_ADAPTER if wish == NO_ADAPTER else adapters.get(wish),
            adapters=adapters,
            default_adapter=task.default_adapter,
        )
    except Rejected as rejected:
        yield _FIELD.sub(r"`--\1", rejected.detail)


def _cards(options: Namespace, task_id: str) -> Cards:
    """Returns the shipped cards, or the operator's own if the task is none of those; none where they are faulty."""
    if task_id in (shipped := shipped_tasks()):
        return Cards(tasks=shipped, prompts=shipped_prompts())
    try:
        return own_cards_of(options.data_dir)
    except CardError:  # another rule tells of it
        return Cards()


def _adapters(options: Namespace) -> dict[str, AdapterCard]:
    """Returns the adapters by id; those whose cards cannot be read are left out."""
    from certrad.workers.contract.settings import SharedSettings  # pydantic

    data_dir: Path = options.data_dir or SharedSettings().data_dir
    known = {}
    for path in sorted((data_dir / "adapters").glob("*.json")):
        with suppress(OSError, ValueError):
            known[path.stem] = decode_card(AdapterCard, path.read_text("utf-8"))
    return {**known, **shipped_adapters()}


def _card(options: Namespace) -> PromptCard | None:
    """Returns the card of the learned prompt that is named; None where none is, or its card cannot be read."""
    name: str | None = getattr(options, "prompt", None)
    if name is None or name == TEMPLATE_PROMPT:
        return None
    if name in (shipped := shipped_prompts()):
        return shipped[name]
    from certrad.workers.contract.settings import SharedSettings  # pydantic: only where an own prompt is named

    data_dir: Path = options.data_dir or SharedSettings().data_dir
    try:
        return decode_card(PromptCard, (data_dir / "prompts" / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
