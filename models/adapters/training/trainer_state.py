"""The state of the training of an adapter between two steps."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.adapters.adapter import LowRank
from certrad.models.checkpoint_files import header_of
from certrad.models.errors import Rejected

HEADER: Final = "certrad.adapter_training.v1"
DOWN: Final = "down:"
UP: Final = "up:"
REPLACED: Final = "replaced:"
_AVERAGE: Final = "average/"
_SQUARE: Final = "square/"
_VALUE: Final = "value/"
_DIGEST_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdapterState:
    """Everything that a training needs to continue after `step` steps.

    Attributes:
        step: Number of steps done.
        loss: Mean loss of the steps since the state before this one.
        values: Every trained tensor by its name: `down:`, `up:` or `replaced:`, and the name of the parameter.
        averages: AdamW's running average of the gradient of each.
        squares: AdamW's running average of the squared gradient of each.
    """

    step: int
    loss: float
    values: Mapping[str, Tensor]
    averages: Mapping[str, Tensor]
    squares: Mapping[str, Tensor]

    def low_rank(self) -> dict[str, LowRank]:
        """Returns the changes of matrices by the name of the parameter."""
        names = [key.removeprefix(DOWN) for key in self.values if key.startswith(DOWN)]
        return {name: LowRank(down=self.values[DOWN + name], up=self.values[UP + name]) for name in names}

    def replaced(self) -> dict[str, Tensor]:
        """Returns the new values of other parameters by their names."""
        return {key.removeprefix(REPLACED): value for key, value in self.values.items() if key.startswith(REPLACED)}

    def require_finite(self) -> "AdapterState":
        """Returns the state.

        Raises:
            Rejected: invalid_adapter if the loss or a tensor is not finite: no later step would mend that.
        """
        tensors = [tensor for group in (self.values, self.averages, self.squares) for tensor in group.values()]
        if not math.isfinite(self.loss) or not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise Rejected(
                "invalid_adapter",
                f"the training diverged: after step {self.step} the loss ({self.loss}) or a trained value is not "
                "finite; train anew with another seed or less noise",
            )
        return self

    def to_bytes(self, identity: Mapping[str, Any]) -> bytes:
        """Returns the state as a safetensors file.

        Args:
            identity: See `record.training_identity`.
        """
        header = {"identity": identity, "step": self.step, "loss": self.loss}
        groups = {_VALUE: self.values, _AVERAGE: self.averages, _SQUARE: self.squares}
        tensors = {prefix + name: tensor for prefix, group in groups.items() for name, tensor in group.items()}
        # One metadata entry only: safetensors does not keep the order of several.
        content: bytes = save(tensors, metadata={HEADER: json.dumps(header, sort_keys=True)})
        return content

    @staticmethod
    def from_bytes(content: bytes, identity: Mapping[str, Any]) -> "AdapterState":
        """Returns the state in a safetensors file.

        Args:
            content: All bytes of the file.
            identity: What the training to continue has.

        Raises:
            Rejected: invalid_adapter for a file that is no such state, or that of another training.
        """
        try:
            header, tensors = header_of(content, HEADER), load(content)
            found, step, loss = header["identity"], int(header["step"]), float(header["loss"])
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise Rejected(
                "invalid_adapter", f"the content is not the state of a training: {type(error).__name__}"
            ) from error
        if others := sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key)):
            values = [f"{key} ({_shown(found.get(key))}, now {_shown(identity.get(key))})" for key in others]
            raise Rejected(
                "invalid_adapter",
                f"the state is of a training with another {' and '.join(values)}: "
                "continue it with the values it began with, or begin a new training",
            )

        def group(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        state = AdapterState(
            step=step, loss=loss, values=group(_VALUE), averages=group(_AVERAGE), squares=group(_SQUARE)
        )
        return state.require_finite()


def _shown(value: object) -> str:
    """Returns a value as an error names it: the first digits of a digest are enough."""
    return value[:16] if isinstance(value, str) and len(value) == _DIGEST_DIGITS else repr(value)
