"""An operator's own backbone and task in a data directory: the embedded model's files under an id of their own."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from certrad.models.backbones.base import EMBEDDED
from certrad.models.shipped import shipped_backbones
from certrad.models.types import BackboneCard, TaskCard
from certrad.models.types.codec import encode_card

BACKBONE = "own-clip"
TASK = "own-scans"


def own_backbone(**changes: Any) -> BackboneCard:
    """The card of the backbone, whose weights are not pinned yet."""
    fields = {"id": BACKBONE, "title": "Our model", "hub": None, "sha256": None, "default_task": None}
    return replace(shipped_backbones()["demo"], **(fields | changes))


def own_task(**changes: Any) -> TaskCard:
    """The card of the task, which names the backbone."""
    task = TaskCard(
        id=TASK,
        title="Our scans",
        class_names=("hand X-ray", "head CT"),
        template="a medical image of {}.",
        default_backbone=BACKBONE,
    )
    return replace(task, **changes)


def write_card(data_dir: Path, card: BackboneCard | TaskCard) -> Path:
    """Puts a card where it belongs, and returns its file."""
    kind = "backbones" if isinstance(card, BackboneCard) else "tasks"
    path = data_dir / "cards" / kind / f"{card.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(encode_card(card))
    return path


def write_own_cards(data_dir: Path, *, weights: bool = True) -> None:
    """Puts both cards into a data directory and, if asked to, the files of the backbone."""
    card = own_backbone()
    write_card(data_dir, card)
    write_card(data_dir, own_task())
    if weights:
        folder = data_dir / "backbones" / card.id
        folder.mkdir(parents=True)
        for name in ("open_clip_config.json", card.weights):
            shutil.copy(EMBEDDED / name, folder)
