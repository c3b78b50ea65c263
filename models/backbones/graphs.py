"""CUDA graphs of a computation on batches of one shape: one launch in the place of some hundred."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Protocol

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]
"""A computation: launches kernels, and copies nothing between host and device."""

BATCHES_BEFORE: Final = 8
"""Batches that are computed before a graph is captured, which takes the time of three."""
_KEPT: Final = 2  # graphs: each holds the memory of its activations


class Capture(Protocol):
    """Captures a computation."""

    def __call__(self, run: Run, inputs: Tensor) -> Callable[[], Tensor]:
        """Returns a function that computes again what `inputs` hold then, always into the same memory.

        Args:
            run: The computation.
            inputs: Memory that it will read.
        """


@dataclass(slots=True, eq=False)
class _Graph:
    """One captured computation, or the batches that were computed without one.

    Attributes:
        seen: Batches that were computed.
        inputs: Memory that the graph reads; None as long as there is no graph.
        replay: Computes again.
    """

    seen: int = 0
    inputs: Tensor | None = None
    replay: Callable[[], Tensor] | None = None


@dataclass(slots=True, eq=False)
class Graphs:
    """The graphs of one backbone, of the computations that it was used for last.

    A graph is used only if it gave the bits of the computation that it holds. Where capturing fails, the computation
    goes on as before.

    Attributes:
        capture: Captures a computation.
        refused: Why the last graph is not used; None where it is.
    """

    capture: Capture
    refused: str | None = None
    _graphs: OrderedDict[Hashable, _Graph] = field(default_factory=OrderedDict)

    def compute(self, key: Hashable, run: Run, inputs: Tensor) -> Tensor:
        """Returns what a computation gives for inputs; the next call may write into the same memory.

        Args:
            key: What the computation depends on, beside the inputs and their shape.
            run: The computation.
            inputs: Inputs, on the device.
        """
        graph = self._graph((key, inputs.shape, inputs.stride(), inputs.dtype))
        graph.seen += 1
        if graph.replay is not None and graph.inputs is not None:
            graph.inputs.copy_(inputs)
            return graph.replay()
        found = run(inputs)
        if graph.seen == BATCHES_BEFORE:
            self._add(graph, run, inputs, found)
        return found

    def _graph(self, key: Hashable) -> _Graph:
        graph = self._graphs.setdefault(key, _Graph())
        self._graphs.move_to_end(key)
        while len(self._graphs) > _KEPT:
            self._graphs.popitem(last=False)
        return graph

    def _add(self, graph: _Graph, run: Run, inputs: Tensor, expected: Tensor) -> None:
        """Captures a graph, and keeps it if it gives what was computed, to the last bit."""
        try:
            own = inputs.clone(memory_format=torch.preserve_format)
            replay = self.capture(run, own)
            same = torch.equal(replay(), expected)
        except RuntimeError as error:  # what a driver or an operation raises that cannot be held
            self.refused = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            return
        self.refused = None if same else "the graph gives other numbers"
        if same:
            graph.inputs, graph.replay = own, replay


def capture_on_cuda(run: Run, inputs: Tensor) -> Callable[[], Tensor]:
    """Captures a computation in a CUDA graph (`Capture`). No GPU has run it.

    Args:
        run: The computation.
        inputs: Memory on a CUDA device that it will read.
    """
    device = inputs.device
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):  # libraries take their memory on a stream when they first run there
        run(inputs)
    torch.cuda.current_stream(device).wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
        made = run(inputs)

    def replay() -> Tensor:
        graph.replay()
        return made

    return replay
