"""Noise in the image's own space gives a radius on the image itself."""

import numpy as np
import pytest
import torch

from certrad.bench.common.native_space import NativeSpaceClassifier
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import model_input
from certrad.models.smoothing import certify
from certrad.models.types import Certificate, SmoothingParams
from certrad.models.types.image import ImageFacts
from tests.support.threshold_classifier import ThresholdClassifier


class HalfSpaces:
    """Two classes on either side of a hyperplane through the grey image 1/2; the logits say how far."""

    def __init__(self, size: int) -> None:
        self.input_shape = (3, size, size)
        self.n_classes = 2
        self.device = torch.device("cpu")
        self.normal = torch.from_numpy(np.random.default_rng(0).standard_normal(self.input_shape)).float() + 1

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        distance = ((pixels - 0.5) * self.normal).flatten(1).sum(dim=1)
        return torch.stack([distance, -distance], dim=1)


def picture(*shape: int) -> DecodedImage:
    pixels = np.random.default_rng(1).uniform(0.4, 0.62, shape)
    facts = ImageFacts(
        format="png", rows=shape[0], columns=shape[1], channels=1 if shape[2] == 1 else 3, bits=8, decoder="test 1",
        lossy=False, unit="grey level", slope=1 / 255,
    )  # fmt: skip
    return DecodedImage(pixels=pixels, sha256="0" * 64, facts=facts)


@pytest.mark.parametrize("shape", [(20, 33, 1), (70, 41, 3), (32, 32, 1)])
def test_without_noise_it_is_the_base_classifier_of_the_model_input(shape: tuple[int, int, int]) -> None:
    base, image = HalfSpaces(32), picture(*shape)
    native = NativeSpaceClassifier(base, (shape[2], *shape[:2]))
    own = torch.from_numpy(image.pixels.transpose(2, 0, 1).copy()).float()[None]
    expected = base.logits(torch.from_numpy(model_input(image, 32).pixels.copy())[None])
    assert torch.allclose(native.logits(own), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 24, 1), (60, 60, 3)])
def test_the_radius_is_one_on_the_image_itself(shape: tuple[int, int, int]) -> None:
    """The class changes at the distance of the hyperplane of f(T u), which the certificate comes near from below."""
    base, image = HalfSpaces(32), picture(*shape)
    native = NativeSpaceClassifier(base, (shape[2], *shape[:2]))
    own = image.pixels.transpose(2, 0, 1).copy()
    u = torch.from_numpy(own).float()[None].requires_grad_()
    margin = native.logits(u)[0, 0]
    (gradient,) = torch.autograd.grad(margin, u)
    distance = float(margin.detach().abs() / gradient.norm())
    params = SmoothingParams(sigma=min(2.0, distance), n=2000)
    outcome = certify(own, native, params, key=bytes(32)).outcome
    assert isinstance(outcome, Certificate)
    assert outcome.class_index == int(margin.item() < 0)
    assert 0.8 * distance < outcome.radius < distance


def test_a_base_classifier_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, S, S\)"):
        NativeSpaceClassifier(ThresholdClassifier(cuts=(1,), input_shape=(3, 4, 5)), (1, 8, 8))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        NativeSpaceClassifier(HalfSpaces(8), (2, 8, 8))
