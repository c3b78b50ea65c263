"""Blocks of labels: where the estimation samples are kept, each sample once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Blocks(Protocol):
    """Where the labels of the estimation samples are kept, each sample once."""

    def committed(self) -> Mapping[int, bytes]:
        """Returns start index -> labels, little-endian uint16, of every block committed so far, by whomever."""

    def commit(self, start: int, labels: bytes) -> bytes:
        """Keeps the labels of samples start, start + 1, … and returns those that stand: the first ones committed.

        May raise to stop the sampling: what was committed before stays.

        Args:
            start: Index of the first sample.
            labels: Little-endian uint16.
        """


@dataclass(frozen=True, slots=True)
class MemoryBlocks:
    """Blocks in the memory of this process."""

    _blocks: dict[int, bytes] = field(default_factory=dict)

    def committed(self) -> Mapping[int, bytes]:
        """Returns a copy of the blocks committed so far."""
        return dict(self._blocks)

    def commit(self, start: int, labels: bytes) -> bytes:
        """Keeps the first labels committed for a start, and returns them."""
        return self._blocks.setdefault(start, labels)
