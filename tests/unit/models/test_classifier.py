"""The base classifier takes scaled cosine similarities, and encodes the text once."""

import hashlib
import struct
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.classifier import TextHead, VisionLanguageClassifier, prompt_in_force, text_features_sha256
from certrad.models.errors import Rejected
from certrad.models.prompts.context import ContextVectors, template_features
from certrad.models.smoothing.sampling import BaseClassifier
from certrad.models.types import ClassifierSpec, ZeroShotAdaptation
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


SPEC = ClassifierSpec(backbone="tiny", prompt="template", class_names=tuple(NAMES), template="a photo of {}.")


def test_without_adaptation_the_checkpoint_is_used_and_no_noise_is_drawn(backbone: Backbone) -> None:
    checkpoint = ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(0))
    for prompt in (None, checkpoint):
        assert prompt_in_force(backbone, SPEC, prompt, lambda n: pytest.fail(f"{n} noisy copies")) is prompt


def test_an_adapted_prompt_starts_from_the_checkpoint_or_the_template(backbone: Backbone) -> None:
    spec = replace(SPEC, adaptation=ZeroShotAdaptation(samples=4, lr=1e-6))
    checkpoint = ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(0))
    features = backbone.encode_image(pixels()).detach()
    adapted = prompt_in_force(backbone, spec, checkpoint, lambda n: features[:n])
    assert isinstance(adapted, ContextVectors)
    assert 0 < float((adapted.vectors - checkpoint.vectors).abs().max()) < 1e-5
    of_template = TextHead.of_spec(backbone, spec, prompt_in_force(backbone, spec, None, lambda n: features[:n]))
    expected = TextHead.of_spec(backbone, SPEC, None).text_features
    assert 0 < float((of_template.text_features - expected).abs().max()) < 1e-3


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("twin", ["mucus ", "Mucus", "_mucus"])
def test_classes_that_are_one_text_are_refused_by_name(backbone: Backbone, twin: str, learned: bool) -> None:
    spec = replace(SPEC, class_names=("debris", "mucus", twin))
    prompt = ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(0)) if learned else None
    with pytest.raises(Rejected, match=f"indistinct_classes: 'mucus' and '{twin}'"):
        TextHead.of_spec(backbone, spec, prompt)


def test_one_text_with_context_vectors_of_each_class_is_told_apart(backbone: Backbone) -> None:
    vectors = torch.randn(3, 2, backbone.text_width, generator=torch.Generator().manual_seed(0))
    spec = replace(SPEC, class_names=("debris", "mucus", "Mucus"))
    assert TextHead.of_spec(backbone, spec, ContextVectors(vectors=vectors)).text_features.shape == (3, 16)
