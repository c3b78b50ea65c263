"""Where prompt checkpoints lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certrad.models.backbones.base import EMBEDDED
from certrad.models.errors import Rejected
from certrad.models.prompts.checkpoint import prompt_path, read_prompt_card
from certrad.models.types import PromptCard

SHIPPED_PROMPTS: Final = EMBEDDED / "prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the weights and prompt checkpoints lie that are not shipped."""

    backbones: Path
    prompts: Path

    def of_prompt(self, prompt_id: str) -> Path:
        """The folder of a prompt checkpoint and its card. Raises Rejected prompt_not_found for an id that is none."""
        return SHIPPED_PROMPTS if prompt_path(SHIPPED_PROMPTS, prompt_id).exists() else self.prompts

    def prompt_card(self, prompt_id: str) -> PromptCard:
        """The card of a prompt. Raises Rejected: prompt_not_found, invalid_checkpoint."""
        path = prompt_path(self.of_prompt(prompt_id), prompt_id).with_suffix(".json")
        if not path.exists():
            raise Rejected("prompt_not_found", f"there is no prompt {prompt_id!r} on this machine")
        return read_prompt_card(path)
