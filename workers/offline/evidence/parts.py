"""The parts of evidence while it is gathered."""

from dataclasses import dataclass, field
from typing import Any

from certrad.workers.offline.evidence.requirements import ItemId


@dataclass(slots=True)
class GatheredEvidence:
    """The files that are gathered, by their names, what a reader must know of an item, and why one has none."""

    files: dict[str, bytes] = field(default_factory=dict)
    of_item: dict[ItemId, list[str]] = field(default_factory=dict)
    reasons: dict[ItemId, str] = field(default_factory=dict)
    notes: dict[ItemId, str] = field(default_factory=dict)
    certified_accuracy: list[dict[str, Any]] = field(default_factory=list)
    audited: list[dict[str, Any]] = field(default_factory=list)
    evaluated: dict[str, Any] | None = None
    attacked: dict[str, Any] | None = None

    def adapters(self) -> set[str | None]:
        """Returns the ids of the adapters that the figures are of; None for the frozen encoder."""
        found = [*self.audited, *(each for each in (self.evaluated, self.attacked) if each is not None)]
        return {each["adapter"] for each in found}

    def add(self, item: ItemId, name: str, content: bytes) -> None:
        """Adds a file of an item."""
        self.files[name] = content
        self.of_item.setdefault(item, []).append(name)

    def leave_out(self, item: ItemId, reason: str) -> None:
        """Says why an item has no file."""
        self.reasons[item] = reason
