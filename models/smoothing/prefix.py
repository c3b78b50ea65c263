"""The labels of a run in the order of its samples, whichever engine computes them."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from certrad.models.smoothing.blocks import Blocks, Layout, SharedBlocks

Label = Callable[[Iterable[int]], Generator[tuple[int, NDArray[np.uint16]], None, None]]
"""Yields (start, labels) of the batches that begin at these samples, in their order; it may ask ahead for starts."""


def prefix(label: Label, layout: Layout, blocks: Blocks) -> Generator[tuple[bytes, bool], None, None]:
    """Yields the standing labels of each batch in order, and whether it was missing until now.

    Whoever reads on needs no more than the labels in their order, so that a decision is the same however many engines
    computed them.

    Args:
        label: Labels batches.
        layout: How the samples are cut.
        blocks: Where the labels are kept; with `SharedBlocks`, others compute some of them.

    Raises:
        ValueError: `blocks` holds blocks of another size.
    """
    present = dict(blocks.committed())
    layout.check(present)
    if not isinstance(blocks, SharedBlocks):
        return _alone(label, layout, blocks, present)
    return _shared(label, layout, blocks, present)


def commit_batch(
    blocks: Blocks, layout: Layout, batch_start: int, labels: NDArray[np.uint16], missing: Iterable[int]
) -> dict[int, bytes]:
    """Commits blocks of one batch.

    Args:
        blocks: Where the labels are kept.
        layout: How the samples are cut.
        batch_start: The first sample of the batch.
        labels: The labels of the whole batch.
        missing: The blocks to commit, by their first samples.

    Returns:
        First sample -> the labels that stand.
    """
    return {start: blocks.commit(start, labels[layout.block(batch_start, start)].tobytes()) for start in missing}


def _alone(
    label: Label, layout: Layout, blocks: Blocks, present: dict[int, bytes]
) -> Generator[tuple[bytes, bool], None, None]:
    with closing(label([start for start in layout.batches if layout.missing(start, present)])) as batches:
        for batch_start in layout.batches:
            missing = layout.missing(batch_start, present)
            if missing:
                _, labels = next(batches)
                present |= commit_batch(blocks, layout, batch_start, labels, missing)
            yield b"".join(present[start] for start in layout.blocks(batch_start)), bool(missing)


def _shared(
    label: Label, layout: Layout, blocks: SharedBlocks, present: dict[int, bytes]
) -> Generator[tuple[bytes, bool], None, None]:
    decided = 0

    def claims() -> Iterator[int]:
        while (start := blocks.claim(decided)) is not None:
            yield start

    batches = label(claims())
    try:
        for batch_start in layout.batches:
            decided, was_missing = batch_start, bool(layout.missing(batch_start, present))
            while missing := layout.missing(batch_start, present):
                own = next(batches, None)
                if own is None:
                    # Nothing is left to claim, so this engine has nothing better to do: what whoever claimed the batch
                    # does not commit in good time, it computes itself. The first labels committed stand.
                    present |= blocks.await_helpers(missing)
                    late = [batch_start] if layout.missing(batch_start, present) else []
                    batches = label(chain(late, claims()))
                    continue
                start, labels = own
                present |= commit_batch(blocks, layout, start, labels, layout.missing(start, present))
                if start > batch_start:
                    between = range(batch_start, start, layout.batch_size)
                    present |= blocks.read([block for at in between for block in layout.missing(at, present)])
            yield b"".join(present[start] for start in layout.blocks(batch_start)), was_missing
    finally:
        batches.close()
        blocks.leave()
