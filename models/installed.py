"""The cards of one installation: those in the package, and those that the operator adds in a folder."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from certrad.models.shipped import shipped_adapters, shipped_backbones, shipped_datasets, shipped_prompts, shipped_tasks
from certrad.models.types import AdapterCard, BackboneCard, PromptCard, TaskCard
from certrad.models.types.cards import alike_classes
from certrad.models.types.codec import decode_card

_BACKBONES: Final = "backbones"
_TASKS: Final = "tasks"
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # it becomes the name of a folder
_Card = TypeVar("_Card", BackboneCard, TaskCard)


class CardError(ValueError):
    """A card of the operator cannot be used; the message names its file and says why."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"the card {path} cannot be used: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """Cards by id.

    Attributes:
        backbones: The backbones.
        tasks: The tasks.
        prompts: The learned prompts: of `own_cards`, those that its tasks name; of `installed_cards`, all shipped ones
            too.
    """

    backbones: Mapping[str, BackboneCard] = field(default_factory=dict)
    tasks: Mapping[str, TaskCard] = field(default_factory=dict)
    prompts: Mapping[str, PromptCard] = field(default_factory=dict)


def installed_cards(folder: Path, prompts: Path, adapters: Path) -> Cards:
    """Returns the shipped cards with those of the operator.

    Args:
        folder: The folder of the operator's cards.
        prompts: The folder of the operator's prompts.
        adapters: The folder of the operator's adapters.

    Raises:
        CardError: A card of the operator cannot be used.
    """
    own = own_cards(folder, prompts, adapters)
    return Cards(
        backbones={**shipped_backbones(), **own.backbones},
        tasks={**shipped_tasks(), **own.tasks},
        prompts={**shipped_prompts(), **own.prompts},
    )


def own_cards(folder: Path, prompts: Path, adapters: Path) -> Cards:
    """Returns the cards of the operator: one file `ID.json` for each, in `backbones/` and `tasks/` of a folder.

    Args:
        folder: The folder; it need not be there.
        prompts: The folder of the operator's prompts.
        adapters: The folder of the operator's adapters.

    Raises:
        CardError: A file is no card, has the id of a shipped card, or names what is not there.
    """
    for path in _visible(folder):
        if path.name not in (_BACKBONES, _TASKS) or not path.is_dir():
            raise CardError(path, f"the folder holds nothing but the folders `{_BACKBONES}` and `{_TASKS}`")
    backbones = _read(BackboneCard, folder / _BACKBONES, {*shipped_backbones()})
    # A data set and a task of your own are named by the same option of `certrad evaluate`.
    tasks = _read(TaskCard, folder / _TASKS, {*shipped_tasks(), *shipped_datasets()})
    for path, backbone in backbones.items():
        _check_backbone(path, backbone, {*shipped_tasks(), *_by_id(tasks)})
    named: dict[str, PromptCard] = {}
    for path, task in tasks.items():
        _check_task(path, task, {*shipped_backbones(), *_by_id(backbones)})
        _check_default_adapter(path, task, adapters)
        named |= _default_prompts(path, task, prompts)
    return Cards(backbones=_by_id(backbones), tasks=_by_id(tasks), prompts=named)


def _read(kind: type[_Card], folder: Path, shipped: set[str]) -> dict[Path, _Card]:
    cards = {}
    for path in _visible(folder):
        card = _decoded(kind, path)
        if not _ID.fullmatch(card.id):
            raise CardError(path, "`id` must be 1 to 64 lowercase letters, digits, dots, dashes and underscores")
        if path.name != f"{card.id}.json":
            raise CardError(path, f"the file must be named {card.id}.json, after its `id`")
        if card.id in shipped:
            raise CardError(path, f"`id` must be none of {', '.join(sorted(shipped))}, which shipped cards have")
        cards[path] = card
    return cards


def _decoded(kind: type[_Card], path: Path) -> _Card:
    try:
        return decode_card(kind, path.read_text("utf-8"))
    except OSError as error:
        raise CardError(path, error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise CardError(path, error) from error


def _check_backbone(path: Path, card: BackboneCard, tasks: set[str]) -> None:
    if Path(card.weights).name != card.weights:
        raise CardError(path, f"`weights` must be the name of a file, got {card.weights!r}")
    if card.default_task is not None:
        _require(path, "default_task", card.default_task, tasks)


def _check_task(path: Path, card: TaskCard, backbones: set[str]) -> None:
    _require(path, "default_backbone", card.default_backbone, backbones)
    if alike := alike_classes(card.class_names):
        raise CardError(path, f"class names must differ in more than case, spaces and underscores, got {alike!r}")


def _check_default_adapter(path: Path, task: TaskCard, adapters: Path) -> None:
    if (adapter_id := task.default_adapter) is None:
        return
    if (card := shipped_adapters().get(adapter_id)) is None:
        there = {file.stem: file for file in adapters.glob("*.json")}
        _require(path, "default_adapter", adapter_id, {*shipped_adapters(), *there})
        try:
            card = decode_card(AdapterCard, there[adapter_id].read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise CardError(path, "`default_adapter` names an adapter whose card cannot be read") from error
    if (card.id, card.backbone) != (adapter_id, task.default_backbone):
        raise CardError(path, f"`default_adapter` must name an adapter of {task.default_backbone}, got {card.backbone}")


def _default_prompts(path: Path, task: TaskCard, prompts: Path) -> dict[str, PromptCard]:
    """Returns the prompts that a task names, after a check that the task can use them."""
    found = {}
    for name, prompt_id in (("default_prompt", task.default_prompt), ("default_bank", task.default_bank)):
        if prompt_id is None:
            continue
        card = shipped_prompts().get(prompt_id) or _own_prompt(path, name, prompt_id, prompts)
        if card.class_names != task.class_names:
            raise CardError(path, f"`{name}` must have the classes of the task, in their order")
        if (card.method == "bank") != (name == "default_bank"):
            raise CardError(path, f"`default_bank` must name a bank and `default_prompt` none, got {prompt_id!r}")
        found[prompt_id] = card
    return found


def _own_prompt(path: Path, name: str, prompt_id: str, prompts: Path) -> PromptCard:
    there = {file.stem: file for file in prompts.glob("*.json")}
    _require(path, name, prompt_id, {*shipped_prompts(), *there})
    try:
        return decode_card(PromptCard, there[prompt_id].read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(path, f"`{name}` names a prompt whose card cannot be read") from error


def _require(path: Path, name: str, value: str, known: set[str]) -> None:
    if value not in known:
        raise CardError(path, f"`{name}` must be one of {', '.join(sorted(known))}; got {value!r}")


def _visible(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _by_id(cards: Mapping[Path, _Card]) -> dict[str, _Card]:
    return {card.id: card for card in cards.values()}
