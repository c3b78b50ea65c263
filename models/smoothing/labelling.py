"""The labels of whole batches: what a sampler draws meets what classifies it, in the form that suits both."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.smoothing.fused_noise import PIXELS, InputForm
from certrad.models.smoothing.noise import Stream
from certrad.models.smoothing.sampling import BaseClassifier, NoisySampler, Sampler, labels

Logits = Callable[[torch.Tensor], torch.Tensor]
"""Logits (B, K) of a batch of inputs."""


@runtime_checkable
class BatchClassifier(BaseClassifier, Protocol):
    """A base classifier that also takes its inputs as its encoder does, in batches of one size."""

    @property
    def input_form(self) -> InputForm:
        """Returns the form in which its encoder takes inputs."""

    def batch_logits(self, inputs: torch.Tensor, form: InputForm, /) -> torch.Tensor:
        """Returns the logits (B, K) of a batch, to the last bit those of `logits` of its pixels.

        Args:
            inputs: Pixels, or what the encoder takes. The sizes of the batches of one sampler are equal.
            form: Their form: `PIXELS` or `input_form`.
        """


class Delivery(Protocol):
    """Brings logits from a device to the host."""

    def send(self, logits: torch.Tensor, /) -> Callable[[], torch.Tensor]:
        """Begins to bring logits to the host, and returns a function that waits for them and returns them."""


class CudaDelivery:
    """Brings logits through pinned memory, so that the host waits for one batch and not for what it launched since.

    No GPU has run it.
    """

    def send(self, logits: torch.Tensor, /) -> Callable[[], torch.Tensor]:
        """Begins to bring logits to the host, and returns a function that waits for them and returns them."""
        host = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
        host.copy_(logits, non_blocking=True)
        event = torch.cuda.current_stream(logits.device).record_event()

        def received() -> torch.Tensor:
            event.synchronize()
            return host

        return received


class DirectDelivery:
    """Returns logits as they are; reading them waits where they lie on another device."""

    def send(self, logits: torch.Tensor, /) -> Callable[[], torch.Tensor]:
        """Returns a function that returns the logits."""
        return lambda: logits


_CUDA: Final = CudaDelivery()
_DIRECT: Final = DirectDelivery()


def label_batches(
    sampler: Sampler, base_classifier: BaseClassifier, stream: Stream, starts: Iterable[int]
) -> Generator[tuple[int, NDArray[np.uint16]], None, None]:
    """Yields (start, labels) of whole batches, in order; close it where the loop may stop early.

    On CUDA the next batch is launched before the host waits for the labels of this one, so that the device never waits
    for the host. There is one wait for each batch, and none inside.

    Args:
        sampler: Draws batches of inputs of the classifier.
        base_classifier: The classifier that is smoothed.
        stream: What the noise is for.
        starts: Indices of first samples, multiples of the batch size.

    Raises:
        ValueError: The classifier returns logits of another shape.
    """
    on_cuda = base_classifier.device.type == "cuda"
    delivery: Delivery = _CUDA if on_cuda else _DIRECT
    matched, logits = matching(sampler, base_classifier)
    expected = (sampler.batch_size, base_classifier.n_classes)
    with closing(matched.batches(stream, starts)) as batches:
        yield from labels_of_batches(batches, logits, delivery, expected=expected, ahead=on_cuda)


def matching(sampler: Sampler, base_classifier: BaseClassifier) -> tuple[Sampler, Logits]:
    """Returns what draws the batches of a sampler, and what computes the logits of these batches.

    Args:
        sampler: Draws batches of inputs of the classifier.
        base_classifier: The classifier that is smoothed.
    """
    if not isinstance(sampler, NoisySampler) or not isinstance(base_classifier, BatchClassifier):
        return sampler, base_classifier.logits
    formed = sampler.in_form(base_classifier.input_form)
    form = PIXELS if formed is None else formed.form
    return formed or sampler, lambda inputs: base_classifier.batch_logits(inputs, form)


def labels_of_batches(
    batches: Iterable[tuple[int, torch.Tensor]],
    logits: Logits,
    delivery: Delivery,
    *,
    expected: tuple[int, int],
    ahead: bool,
) -> Generator[tuple[int, NDArray[np.uint16]], None, None]:
    """Yields (start, labels) of each batch, in order.

    Args:
        batches: (start, inputs) of each batch.
        logits: Computes the logits of a batch.
        delivery: Brings them to the host.
        expected: Shape of the logits.
        ahead: Whether the next batch is launched before the labels of this one are waited for.

    Raises:
        ValueError: The logits are of another shape.
    """
    launched: tuple[int, Callable[[], torch.Tensor]] | None = None
    for start, inputs in batches:
        with torch.inference_mode():
            found = logits(inputs)
            if found.shape != expected:
                raise ValueError(f"logits must be of shape {expected}, got {tuple(found.shape)}")
            received = delivery.send(found)
        if not ahead:
            yield start, labels(received())
            continue
        if launched is not None:
            yield launched[0], labels(launched[1]())
        launched = start, received
    if launched is not None:
        yield launched[0], labels(launched[1]())
