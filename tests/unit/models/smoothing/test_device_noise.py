"""Batches that are drawn on a stream beside that of the caller."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

from certrad.models.smoothing.device_noise import drawn_beside


class RecordedStreams:
    """Two streams of which only the order of the calls is left."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.inside = False

    def beside(self) -> AbstractContextManager[object]:
        return self._beside()

    @contextmanager
    def _beside(self) -> Iterator[None]:
        self.inside = True
        yield
        self.inside = False

    def draw(self, start: int) -> torch.Tensor:
        assert self.inside
        self.calls.append(f"draw {start}")
        return torch.tensor([start])

    def lend(self, tensors: Iterable[torch.Tensor]) -> None:
        self.calls += [f"lend {int(tensor)}" for tensor in tensors]

    def mark(self) -> str:
        return f"event of {self.calls[-1]}"

    def take(self, event: str, made: torch.Tensor) -> None:
        assert not self.inside
        self.calls.append(f"take {int(made)} after {event}")


def test_the_next_batch_is_in_the_making_before_the_caller_gets_one() -> None:
    streams = RecordedStreams()
    for start, made in drawn_beside(streams.draw, [0, 8, 16], streams):
        assert made.tolist() == [start]
        streams.calls.append(f"encode {start}")
    assert streams.calls == [
        "draw 0",
        "draw 8",
        "take 0 after event of draw 0",
        "encode 0",
        "draw 16",
        "take 8 after event of draw 8",
        "encode 8",
        "take 16 after event of draw 16",
        "encode 16",
    ]


def test_what_is_read_beside_is_kept_for_it_before_anything_is_drawn() -> None:
    streams = RecordedStreams()
    [*_] = drawn_beside(streams.draw, [0], streams, reads=[torch.tensor(7)])
    assert streams.calls == ["lend 7", "draw 0", "take 0 after event of draw 0"]


@pytest.mark.parametrize("starts", [[], [8]])
def test_few_batches_are_each_drawn_once(starts: list[int]) -> None:
    streams = RecordedStreams()
    assert [start for start, _ in drawn_beside(streams.draw, starts, streams)] == starts
    assert sum(call.startswith("draw") for call in streams.calls) == len(starts)


def test_a_caller_that_stops_early_has_at_most_one_batch_drawn_in_vain() -> None:
    streams = RecordedStreams()
    batches = drawn_beside(streams.draw, range(0, 800, 8), streams)
    next(batches)
    batches.close()
    assert streams.calls == ["draw 0", "draw 8", "take 0 after event of draw 0"]
