"""The adapters on this machine."""

from dataclasses import dataclass
from pathlib import Path

from certrad.models.adapters.adapter import Adapter
from certrad.models.adapters.checkpoint import adapter_path, load_adapter, read_adapter_card
from certrad.models.checkpoint_files import folder_with
from certrad.models.errors import Rejected
from certrad.models.shipped import SHIPPED_ADAPTERS
from certrad.models.types import AdapterCard


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterStore:
    """Two folders of adapters: the shipped ones, and the installation's own.

    An adapter that lies in both is taken from the shipped folder.

    Attributes:
        own: The installation's folder.
        shipped: The shipped folder.
    """

    own: Path
    shipped: Path = SHIPPED_ADAPTERS

    def folder(self, adapter_id: str) -> Path | None:
        """Returns the folder in which an adapter lies, or None.

        Raises:
            Rejected: adapter_not_found, for an id that is no safe file name.
        """
        adapter_path(self.own, adapter_id)  # refuses an id that is no safe file name
        return folder_with((self.shipped, self.own), adapter_id)

    def stored(self) -> tuple[str, ...]:
        """Returns the ids of the adapters whose files lie in either folder, sorted."""
        paths = (path for folder in (self.shipped, self.own) for path in folder.glob("*.safetensors"))
        return tuple(sorted({path.stem for path in paths}))

    def card(self, adapter_id: str) -> AdapterCard:
        """Returns the card of an adapter.

        Raises:
            Rejected: adapter_not_found, invalid_adapter.
        """
        folder = self.folder(adapter_id)
        if folder is None or not (path := adapter_path(folder, adapter_id).with_suffix(".json")).exists():
            raise Rejected("adapter_not_found", f"there is no adapter {adapter_id!r} on this machine")
        card = read_adapter_card(path)
        if card.id != adapter_id:
            raise Rejected("invalid_adapter", f"{path.name} is the card of {card.id!r}")
        return card

    def load(self, card: AdapterCard) -> Adapter:
        """Returns the adapter that a card names.

        Raises:
            Rejected: adapter_not_found, digest_mismatch, invalid_adapter.
        """
        return load_adapter(self.folder(card.id) or self.own, card)
