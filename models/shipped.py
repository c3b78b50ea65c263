"""The cards in the package: backbones, tasks, data sets, prompts and adapters, each by its id."""

from functools import cache
from pathlib import Path
from typing import Final, Protocol, TypeVar

from certrad.models.types import AdapterCard, BackboneCard, DatasetCard, PromptCard, TaskCard
from certrad.models.types.codec import decode_card

_ROOT: Final = Path(__file__).parent
BACKBONE_CARDS: Final = _ROOT / "backbones" / "specs"
DATASET_CARDS: Final = _ROOT / "datasets" / "cards"
SHIPPED_ADAPTERS: Final = _ROOT / "demo" / "adapters"
SHIPPED_PROMPTS: Final = _ROOT / "demo" / "prompts"
TASK_CARDS: Final = _ROOT / "tasks"


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Card = TypeVar("_Card", bound=_HasId)


def shipped_backbones() -> dict[str, BackboneCard]:
    """Returns the backbone cards by id."""
    return _read(BackboneCard, BACKBONE_CARDS)


@cache
def shipped_datasets() -> dict[str, DatasetCard]:
    """Returns the cards of the data sets by id."""
    return _read(DatasetCard, DATASET_CARDS)


def shipped_prompts() -> dict[str, PromptCard]:
    """Returns the cards of the prompt checkpoints by id."""
    return _read(PromptCard, SHIPPED_PROMPTS)


@cache
def shipped_adapters() -> dict[str, AdapterCard]:
    """Returns the cards of the adapters by id."""
    return _read(AdapterCard, SHIPPED_ADAPTERS)


def shipped_tasks() -> dict[str, TaskCard]:
    """Returns the task cards by id."""
    return _read(TaskCard, TASK_CARDS)


def _read(kind: type[_Card], folder: Path) -> dict[str, _Card]:
    cards = [decode_card(kind, path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return {card.id: card for card in cards}
