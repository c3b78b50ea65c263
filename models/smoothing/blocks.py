"""Stores of labels: each keeps the labels of estimation samples in blocks, each sample once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Blocks(Protocol):
    """A store of the labels of estimation samples, which keeps each sample once."""

    def committed(self) -> Mapping[int, bytes]:
        """Returns start index -> labels, little-endian uint16, of every block that anyone has committed so far."""

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
        """Keeps the first labels committed for a start; see `Blocks.commit`.

        Args:
            start: Index of the first sample.
            labels: Little-endian uint16.

        Returns:
            The first labels committed for this start.
        """
        return self._blocks.setdefault(start, labels)
