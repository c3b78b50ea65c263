"""The messages between an engine worker and its engine process."""

import json
from dataclasses import asdict, dataclass
from typing import Final

READY: Final = b"r"  # the models are loaded


DONE: Final = b"d"  # the job was performed, whatever came of it, and RQ knows


LEAVING: Final = b"l"  # the same, and this process takes no more orders


REPUBLISH: Final = b"\n"  # in place of an order: the engine publishes again what it offers, and answers nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One execution of one RQ job."""

    job: str
    execution: str

    def to_line(self) -> bytes:
        """Returns the order as a JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Order":
        """Returns the order that `to_line` wrote."""
        return cls(**json.loads(line))
