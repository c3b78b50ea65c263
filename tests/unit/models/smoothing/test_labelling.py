"""A sampler and a classifier meet in the form that suits both, and the host waits for a device once a batch."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from certrad.models.backbones.base import Backbone
from certrad.models.backbones.graphs import BATCHES_BEFORE, Graphs
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.smoothing.fused_noise import PIXELS, record_comparison
from certrad.models.smoothing.labelling import DirectDelivery, label_batches, labels_of_batches, matching
from certrad.models.smoothing.noise import Noise, Stream
from certrad.models.smoothing.sampling import NoisySampler, labels
from tests.support import tiny_clip
from tests.support.host_copies import HostCopies
from tests.support.triton_interpreter import kernels

__all__ = ["kernels"]

CPU = torch.device("cpu")
KEY = bytes(range(32))
NAMES = ["adipose tissue", "mucus", "debris"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tiny")
    tiny_clip.write_open_clip(found)
    return found


def classifier(folder: Path, *, channels_last: bool = False) -> VisionLanguageClassifier:
    backbone = tiny_clip.tiny_backbone(folder)
    features = template_features(backbone, NAMES, "a photo of {}.")
    return VisionLanguageClassifier(backbone.in_memory_format(channels_last=channels_last), features)


def sampler(device: torch.device = CPU, batch_size: int = 4) -> NoisySampler:
    image = np.random.default_rng(3).random((3, 32, 32))
    law = Noise(KEY, "philox-boxmuller-f64")
    return NoisySampler(image=image, sigma=0.5, noise=law, batch_size=batch_size, device=device)


@pytest.fixture
def by_kernel(kernels: ModuleType) -> Iterator[None]:
    record_comparison(CPU, exact=True)
    yield
    record_comparison(CPU, exact=False)


@pytest.mark.usefixtures("by_kernel")
@pytest.mark.parametrize("channels_last", [False, True])
def test_inputs_that_the_kernel_normalised_get_the_logits_of_the_pixels(folder: Path, channels_last: bool) -> None:
    of = classifier(folder, channels_last=channels_last)
    pixels = sampler().batch(Stream.ESTIMATE, 4)
    drawn, logits = matching(sampler(), of)
    with closing(drawn.batches(Stream.ESTIMATE, [4])) as batches, torch.inference_mode():
        _, inputs = next(batches)
        assert torch.equal(logits(inputs), of.logits(pixels))
    assert not torch.equal(inputs, pixels)
    assert inputs.is_contiguous(memory_format=of.backbone._layout)


@pytest.mark.usefixtures("by_kernel")
def test_labels_by_the_normalising_kernel_are_those_of_the_pixels(folder: Path) -> None:
    of = classifier(folder)
    with closing(label_batches(sampler(), of, Stream.ESTIMATE, [0, 4])) as batches, torch.inference_mode():
        for start, found in batches:
            assert found.tolist() == labels(of.logits(sampler().batch(Stream.ESTIMATE, start))).tolist()


@pytest.mark.usefixtures("by_kernel")
def test_an_image_that_is_mapped_first_is_drawn_as_pixels() -> None:
    class Half:
        shape = (3, 16, 16)

        def of_array(self, pixels: object) -> object: ...

        def of_tensor(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels[:, :, ::2, ::2]

        def tensors(self, device: torch.device) -> tuple[torch.Tensor, ...]:
            return ()

    from dataclasses import replace

    mapped = replace(sampler(), pixel_map=Half())  # type: ignore[arg-type]
    assert mapped.in_form(PIXELS) is None


def test_without_the_kernel_pixels_are_drawn(folder: Path) -> None:
    assert matching(sampler(), classifier(folder))[0].form == PIXELS  # type: ignore[attr-defined]


def test_a_law_of_the_cpu_draws_pixels_though_the_kernel_is_exact(folder: Path) -> None:
    from dataclasses import replace

    record_comparison(CPU, exact=True)
    try:
        by_numpy = replace(sampler(), noise=Noise(KEY, "philox-ziggurat-f64"))
        assert matching(by_numpy, classifier(folder))[0].form == PIXELS  # type: ignore[attr-defined]
    finally:
        record_comparison(CPU, exact=False)


# -- the host and the device -----------------------------------------------------------------------------------------


def test_nothing_waits_for_the_device_while_a_batch_is_drawn_and_classified(folder: Path) -> None:
    meta = torch.device("meta")
    at_home = tiny_clip.tiny_backbone(folder)
    features = template_features(at_home, NAMES, "a photo of {}.")
    backbone = Backbone(at_home._model, at_home.card, sha256="", device=meta, dtype=torch.bfloat16)
    drawn, logits = matching(sampler(meta), VisionLanguageClassifier(backbone, features))
    with closing(drawn.batches(Stream.ESTIMATE, [0, 4])) as batches, torch.inference_mode():
        next(batches)
        with HostCopies() as copies:
            found = logits(next(batches)[1])
    assert found.shape == (4, 3)
    assert copies.found == []


class Recorded:
    """A delivery that records its order, and copies as a device does."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def send(self, logits: torch.Tensor) -> Callable[[], torch.Tensor]:
        sent = logits.clone()
        self.calls.append(f"launch {int(sent[0].argmax())}")

        def received() -> torch.Tensor:
            self.calls.append(f"wait for {int(sent[0].argmax())}")
            return sent

        return received


def one_hot(inputs: torch.Tensor) -> torch.Tensor:
    return torch.eye(3)[inputs.long()]


def given(*classes: int) -> list[tuple[int, torch.Tensor]]:
    return [(start, torch.tensor([index])) for start, index in enumerate(classes)]


def test_the_next_batch_is_launched_before_the_host_waits_for_this_one() -> None:
    delivery = Recorded()
    found = labels_of_batches(given(0, 1, 2), one_hot, delivery, expected=(1, 3), ahead=True)
    assert [(start, of.tolist()) for start, of in found] == [(0, [0]), (1, [1]), (2, [2])]
    assert delivery.calls == ["launch 0", "launch 1", "wait for 0", "launch 2", "wait for 1", "wait for 2"]


def test_a_host_that_computes_itself_is_never_a_batch_ahead() -> None:
    drawn: list[int] = []

    def batches() -> Iterator[tuple[int, torch.Tensor]]:
        for each in given(0, 1):
            drawn.append(each[0])
            yield each

    found = labels_of_batches(batches(), one_hot, DirectDelivery(), expected=(1, 3), ahead=False)
    next(found)
    assert drawn == [0]


def test_logits_in_the_memory_of_a_graph_are_delivered_before_it_is_written_again() -> None:
    memory = torch.zeros(1, 3)

    def into_memory(inputs: torch.Tensor) -> torch.Tensor:
        return memory.copy_(one_hot(inputs))

    found = labels_of_batches(given(2, 0, 1), into_memory, Recorded(), expected=(1, 3), ahead=True)
    assert [of.tolist() for _, of in found] == [[2], [0], [1]]


@pytest.mark.parametrize("ahead", [False, True])
def test_logits_of_another_shape_are_refused(ahead: bool) -> None:
    found = labels_of_batches(given(0), one_hot, Recorded(), expected=(1, 4), ahead=ahead)
    with pytest.raises(ValueError, match=r"of shape \(1, 4\), got \(1, 3\)"):
        next(found)


def test_a_classifier_of_other_texts_does_not_use_the_graph_of_this_one(folder: Path) -> None:
    one = classifier(folder)
    other = VisionLanguageClassifier(one.backbone, one.text_features.flip(0))

    def capture(run: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: run(inputs)

    one.backbone.graphs = Graphs(capture)
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for _ in range(BATCHES_BEFORE + 1):
            one.batch_logits(pixels, PIXELS)
        assert torch.equal(other.batch_logits(pixels, PIXELS), other.logits(pixels))
        assert not torch.equal(other.logits(pixels), one.logits(pixels))
