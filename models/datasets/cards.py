"""The cards of the data sets, and the class names of those that have a task."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from certrad.models.types import DatasetCard

CARDS: Final = Path(__file__).parent / "cards"
TASKS: Final = Path(__file__).parents[1] / "tasks"


@cache
def shipped_datasets() -> dict[str, DatasetCard]:
    """The cards that come with the package, by id."""
    cards = [_read(path) for path in sorted(CARDS.glob("*.json"))]
    return {card.id: card for card in cards}


def names_and_template(card: DatasetCard) -> tuple[tuple[str, ...] | None, str | None]:
    """The class names and the template of the card's task, or no names and the card's own template."""
    if card.task is None:
        return None, card.template
    task = json.loads((TASKS / f"{card.task}.json").read_text(encoding="utf-8"))
    return tuple(task["class_names"]), task["template"]


def published_labels(task: str | None) -> tuple[str, ...]:
    """What the published data set of a task calls its classes, in their order; empty where there is no such set."""
    cards = (card for card in shipped_datasets().values() if task is not None and card.task == task)
    return next((card.raw_labels for card in cards), ())


def _read(path: Path) -> DatasetCard:
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return DatasetCard(**{**card, "raw_labels": tuple(card.get("raw_labels", ()))})
