"""The base classifier: scaled cosine similarity, the text encoded once."""

import hashlib
import struct

import pytest
import torch
from torch import Tensor

from models.backbones.base import Backbone
from models.classifier import VisionLanguageClassifier, text_features_sha256
from models.prompts.context import template_features
from models.smoothing.sampling import BaseClassifier
from tests.support import tiny_clip

NAMES = ["adipose tissue", "mucus", "debris"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def classifier(backbone: Backbone) -> VisionLanguageClassifier:
    return VisionLanguageClassifier(backbone, template_features(backbone, NAMES, "a photo of {}."))


def pixels() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 0.5


def test_logits_are_scaled_cosine_similarities(backbone: Backbone, classifier: VisionLanguageClassifier) -> None:
    images, texts = backbone.encode_image(pixels()), classifier.text_features
    expected = backbone.logit_scale * (images / images.norm(dim=1, keepdim=True)) @ texts.T
    torch.testing.assert_close(classifier.logits(pixels()), expected)


def test_logits_of_cached_features_are_those_of_the_pixels(
    backbone: Backbone, classifier: VisionLanguageClassifier
) -> None:
    features = backbone.encode_image(pixels())
    assert torch.equal(classifier.logits_of_features(features), classifier.logits(pixels()))


def test_classifier_can_be_smoothed(classifier: VisionLanguageClassifier) -> None:
    smoothed: BaseClassifier = classifier
    assert smoothed.input_shape == (3, 32, 32)
    assert smoothed.n_classes == 3
    assert smoothed.device == torch.device("cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_feature_gives_logits_that_are_not_finite(
    backbone: Backbone, classifier: VisionLanguageClassifier, value: float
) -> None:
    features = torch.ones(1, backbone.embed_dim)
    features[0, 0] = value
    assert not bool(classifier.logits_of_features(features).isfinite().any())


@pytest.mark.parametrize("shape", [(16,), (3, 15), (1, 3, 16)])
def test_text_features_of_another_shape_are_refused(backbone: Backbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(K, 16\)"):
        VisionLanguageClassifier(backbone, torch.zeros(shape))


def test_text_features_are_identified_by_their_float32_bytes() -> None:
    features = torch.tensor([[1.0, -0.5], [0.25, 2.0]])
    expected = hashlib.sha256(struct.pack("<4f", 1.0, -0.5, 0.25, 2.0)).hexdigest()
    assert text_features_sha256(features) == expected
    assert text_features_sha256(features.T.contiguous().T) == expected
