"""The epochs of a tuning that are done, as they are kept in the job store."""

import struct
from dataclasses import dataclass

from certrad.models.prompts.training.trainer_state import TrainerState


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Epochs:
    """The state after the last finished epoch, or within the next one.

    Attributes:
        state: The state of the trainer.
        losses: The mean loss of each finished epoch.
    """

    state: TrainerState
    losses: tuple[float, ...]

    def to_bytes(self) -> bytes:
        """Returns the number of losses, the losses, the state."""
        return struct.pack(f"<I{len(self.losses)}d", len(self.losses), *self.losses) + self.state.to_bytes()

    @staticmethod
    def from_bytes(content: bytes) -> "Epochs":
        """Returns what `to_bytes` wrote.

        Args:
            content: The bytes.

        Raises:
            struct.error: The bytes end too early.
            Rejected: The state is not one of a trainer.
        """
        (count,) = struct.unpack_from("<I", content)
        losses = struct.unpack_from(f"<{count}d", content, 4)
        return Epochs(state=TrainerState.from_bytes(content[4 + 8 * count :]), losses=losses)
