"""A graph is used in the place of a computation only where it gives the same bits, and for that computation alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from certrad.models.backbones.graphs import BATCHES_BEFORE, Graphs, Run


class FakeCapture:
    """A capture whose replay computes what the memory holds, into the same memory, and may err."""

    def __init__(self, error: float = 0.0) -> None:
        self.captured = 0
        self.replayed = 0
        self.error = error

    def __call__(self, run: Run, inputs: Tensor) -> Callable[[], Tensor]:
        self.captured += 1
        made = run(inputs).clone()

        def replay() -> Tensor:
            self.replayed += 1
            return made.copy_(run(inputs) + self.error)

        return replay


def doubled(inputs: Tensor) -> Tensor:
    return inputs * 2


def tripled(inputs: Tensor) -> Tensor:
    return inputs * 3


def batches(number: int, rows: int = 4) -> list[Tensor]:
    return [torch.full((rows, 2), float(index)) for index in range(number)]


def test_batches_after_the_first_ones_are_computed_by_the_graph_from_their_own_inputs() -> None:
    capture = FakeCapture()
    graphs = Graphs(capture)
    found = [graphs.compute("k", doubled, each).clone() for each in batches(BATCHES_BEFORE + 3)]
    assert [float(each[0, 0]) for each in found] == [2.0 * index for index in range(BATCHES_BEFORE + 3)]
    assert (capture.captured, capture.replayed) == (1, 1 + 3)  # one replay was compared
    assert graphs.refused is None


def test_few_batches_capture_nothing() -> None:
    capture = FakeCapture()
    graphs = Graphs(capture)
    for each in batches(BATCHES_BEFORE - 1):
        graphs.compute("k", doubled, each)
    assert capture.captured == 0


def test_a_graph_that_gives_another_bit_is_never_used() -> None:
    capture = FakeCapture(error=2.0**-20)
    graphs = Graphs(capture)
    found = [graphs.compute("k", doubled, each) for each in batches(BATCHES_BEFORE + 3)]
    assert float(found[-1][0, 0]) == 2.0 * (BATCHES_BEFORE + 2)
    assert (capture.captured, capture.replayed) == (1, 1)
    assert graphs.refused == "the graph gives other numbers"


def test_a_computation_that_cannot_be_captured_goes_on_without_a_graph() -> None:
    def fails(run: Run, inputs: Tensor) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore words")

    graphs = Graphs(fails)
    found = [graphs.compute("k", doubled, each) for each in batches(BATCHES_BEFORE + 3)]
    assert float(found[-1][0, 0]) == 2.0 * (BATCHES_BEFORE + 2)
    assert graphs.refused == "RuntimeError: operation not permitted when stream is capturing"


@pytest.mark.parametrize(("key", "rows"), [("other", 4), ("k", 5)])
def test_another_classifier_or_batch_size_does_not_use_the_graph(key: str, rows: int) -> None:
    graphs = Graphs(FakeCapture())
    for each in batches(BATCHES_BEFORE + 1):
        graphs.compute("k", doubled, each)
    assert torch.equal(graphs.compute(key, tripled, batches(8, rows)[7]), torch.full((rows, 2), 21.0))


def test_channels_last_inputs_do_not_use_the_graph_of_contiguous_ones() -> None:
    capture = FakeCapture()
    graphs = Graphs(capture)
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(BATCHES_BEFORE):
        graphs.compute("k", doubled, images)
    graphs.compute("k", doubled, images.contiguous(memory_format=torch.channels_last))
    assert capture.replayed == 1


def test_only_the_graphs_that_were_used_last_are_kept() -> None:
    capture = FakeCapture()
    graphs = Graphs(capture)
    for key in ("a", "b", "c", "a"):
        for each in batches(BATCHES_BEFORE):
            graphs.compute(key, doubled, each)
    assert capture.captured == 4
