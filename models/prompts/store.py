"""The prompt checkpoints on this machine."""

from dataclasses import dataclass
from pathlib import Path

from certrad.models.checkpoint_files import folder_with
from certrad.models.errors import Rejected
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import load_prompt_or_bank, prompt_path, read_prompt_card
from certrad.models.prompts.context import ContextVectors
from certrad.models.shipped import SHIPPED_PROMPTS
from certrad.models.types import PromptCard


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStore:
    """Two folders of prompt checkpoints: the shipped ones, and the installation's own.

    A prompt that lies in both is taken from the shipped folder.

    Attributes:
        own: the installation's folder.
        shipped: the shipped folder.
    """

    own: Path
    shipped: Path = SHIPPED_PROMPTS

    def folder(self, prompt_id: str) -> Path | None:
        """Returns the folder in which a prompt lies, or None.

        Raises:
            Rejected: prompt_not_found, for an id that is no safe file name.
        """
        prompt_path(self.own, prompt_id)  # refuses an id that is no safe file name
        return folder_with((self.shipped, self.own), prompt_id)

    def card(self, prompt_id: str) -> PromptCard:
        """Returns the card of a prompt.

        Raises:
            Rejected: prompt_not_found, invalid_checkpoint.
        """
        folder = self.folder(prompt_id)
        if folder is None or not (path := prompt_path(folder, prompt_id).with_suffix(".json")).exists():
            raise Rejected("prompt_not_found", f"there is no prompt {prompt_id!r} on this machine")
        return read_prompt_card(path)

    def load(self, card: PromptCard) -> ContextVectors | Bank:
        """Returns the context vectors that a card names, or the bank.

        Raises:
            Rejected: prompt_not_found, digest_mismatch, invalid_checkpoint.
        """
        return load_prompt_or_bank(self.folder(card.id) or self.own, card)
