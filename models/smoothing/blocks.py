"""Stores of labels: each keeps the labels of estimation samples in blocks, each sample once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from certrad.models.smoothing.sampling import LABEL_DTYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the estimation samples of a run are cut: into batches that are computed whole, and these into blocks.

    Attributes:
        n: Samples of the run.
        batch_size: Samples of one batch; the last one may reach beyond n.
        block_size: Samples of one block, a divisor of `batch_size`; the last one ends at n.
    """

    n: int
    batch_size: int
    block_size: int

    def __post_init__(self) -> None:
        if self.block_size < 1 or self.batch_size % self.block_size:
            raise ValueError(f"block_size must divide the batch size {self.batch_size}, got {self.block_size!r}")

    @property
    def batches(self) -> range:
        """Returns the first sample of every batch, in order."""
        return range(0, self.n, self.batch_size)

    def blocks(self, batch_start: int) -> range:
        """Returns the first sample of every block of a batch, in order."""
        return range(batch_start, min(batch_start + self.batch_size, self.n), self.block_size)

    def block(self, batch_start: int, start: int) -> slice:
        """Returns where a block lies in the labels of its batch.

        Args:
            batch_start: The first sample of the batch.
            start: The first sample of the block.
        """
        return slice(start - batch_start, min(start + self.block_size, self.n) - batch_start)

    def missing(self, batch_start: int, present: Collection[int]) -> list[int]:
        """Returns the blocks of a batch that are not present.

        Args:
            batch_start: The first sample of the batch.
            present: First samples of the blocks that are there.
        """
        return [start for start in self.blocks(batch_start) if start not in present]

    def check(self, blocks: Mapping[int, bytes]) -> None:
        """Checks that every block is one of those that this layout cuts, so that none overlap.

        Args:
            blocks: First sample -> labels.

        Raises:
            ValueError: A block is not.
        """
        for start, block in blocks.items():
            expected = min(self.block_size, self.n - start)
            aligned = start % self.block_size == 0 and 0 <= start < self.n
            if not aligned or len(block) != expected * LABEL_DTYPE.itemsize:
                raise ValueError(
                    f"blocks must be of {self.block_size} samples in 0..{self.n - 1}, got {len(block)} bytes at {start}"
                )


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


@runtime_checkable
class SharedBlocks(Blocks, Protocol):
    """Blocks that others fill at the same time: a claim says who computes which batch, and is only a hint.

    Whatever is claimed, the first labels committed for a block are those that stand.
    """

    def begin(self, layout: Layout, *, may_stop_early: bool) -> None:
        """Lets others take part.

        Args:
            layout: How the samples are cut.
            may_stop_early: Whether the labels may decide before n, so that nobody should run far ahead of what was
                decided.
        """

    def claim(self, decided: int) -> int | None:
        """Returns a batch that nobody has claimed or committed, or None if there is none for now.

        Args:
            decided: Samples that are counted already, from sample 0 on.
        """

    def read(self, starts: Iterable[int]) -> Mapping[int, bytes]:
        """Returns the labels of those of the blocks that are committed by now."""

    def await_helpers(self, starts: Iterable[int]) -> Mapping[int, bytes]:
        """Returns the labels of the blocks once helpers have committed them, or of fewer when it takes too long."""

    def leave(self) -> None:
        """Gives claims back that were not committed; a second call is harmless."""

    def end(self) -> None:
        """Lets nobody take part any more: the labels have decided."""


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
