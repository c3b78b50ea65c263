"""Zero-shot adaptation lowers the entropy of the mean prediction, by AdamW on the context vectors alone."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.context import ContextVectors, template_features, text_features
from certrad.models.prompts.zero_shot import adapt, entropy_of_mean, initial_context
from certrad.models.types import ZeroShotAdaptation
from tests.support import tiny_clip

NAMES = ["adipose tissue", "mucus", "debris"]
PARAMS = ZeroShotAdaptation(samples=20)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def features(backbone: Backbone) -> Tensor:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(PARAMS.samples, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return backbone.encode_image(image + 0.25 * noise)


@pytest.fixture(scope="module")
def initial(backbone: Backbone) -> ContextVectors:
    return initial_context(backbone, "An H&E image patch of {}.", "tokens")


def loss(backbone: Backbone, features: Tensor, initial: ContextVectors, vectors: Tensor) -> Tensor:
    context = ContextVectors(vectors=vectors, position=initial.position, split=initial.split, tail=initial.tail)
    logits = backbone.logit_scale * F.normalize(features, dim=-1) @ text_features(backbone, NAMES, context).T
    mean = logits.softmax(dim=-1).mean(dim=0)
    return -(mean * mean.log()).sum()


def test_entropy_of_identical_one_hot_predictions_is_zero() -> None:
    assert abs(float(entropy_of_mean(torch.tensor([[1e4, 0.0, 0.0]] * 7)))) < 1e-6


@pytest.mark.parametrize("n_classes", [2, 9])
def test_entropy_of_uniform_predictions_is_log_k(n_classes: int) -> None:
    assert float(entropy_of_mean(torch.zeros(5, n_classes))) == pytest.approx(math.log(n_classes))


def test_entropy_is_that_of_the_mean_and_not_the_mean_of_entropies() -> None:
    contradictory = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert float(entropy_of_mean(contradictory)) == pytest.approx(math.log(2))


def test_first_step_is_a_sign_step_after_decay(backbone: Backbone, features: Tensor, initial: ContextVectors) -> None:
    vectors = initial.vectors.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(backbone, features, initial, vectors), vectors)
    expected = initial.vectors * (1 - 5e-3 * 0.01) - 5e-3 * gradient / (gradient.abs() + 1e-8)
    adapted = adapt(backbone, features, NAMES, initial, PARAMS)
    clear = gradient.abs() > 1e-5  # elsewhere the sign is at the mercy of rounding
    assert float(clear.float().mean()) > 0.9
    torch.testing.assert_close(adapted.vectors[clear], expected[clear], atol=1e-5, rtol=0)


def test_several_steps_are_those_of_adamw_written_out(
    backbone: Backbone, features: Tensor, initial: ContextVectors
) -> None:
    lr, decay, (beta1, beta2) = 1e-3, 0.01, (0.9, 0.999)
    vectors, mean, square = initial.vectors.clone(), torch.zeros(()), torch.zeros(())
    for step in (1, 2, 3):
        leaf = vectors.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(backbone, features, initial, leaf), leaf)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        update = (mean / (1 - beta1**step)) / ((square / (1 - beta2**step)).sqrt() + 1e-8)
        vectors = vectors * (1 - lr * decay) - lr * update
    params = ZeroShotAdaptation(steps=3, samples=PARAMS.samples, lr=lr)
    adapted = adapt(backbone, features, NAMES, initial, params)
    difference = (adapted.vectors - vectors).abs()
    assert float(difference.median()) < 1e-6
    assert float((difference < 1e-4).float().mean()) > 0.95


def test_adaptation_lowers_the_entropy(backbone: Backbone, features: Tensor, initial: ContextVectors) -> None:
    params = ZeroShotAdaptation(steps=8, samples=PARAMS.samples)
    adapted = adapt(backbone, features, NAMES, initial, params)
    before = loss(backbone, features, initial, initial.vectors)
    assert float(loss(backbone, features, initial, adapted.vectors)) < float(before)


def test_every_adaptation_starts_anew(backbone: Backbone, features: Tensor, initial: ContextVectors) -> None:
    untouched = initial.vectors.clone()
    first, second = (adapt(backbone, features, NAMES, initial, PARAMS) for _ in range(2))
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(initial.vectors, untouched)


def test_adaptation_works_within_inference_mode(backbone: Backbone, features: Tensor, initial: ContextVectors) -> None:
    expected = adapt(backbone, features, NAMES, initial, PARAMS)
    with torch.inference_mode():
        adapted = adapt(backbone, features * 1.0, NAMES, initial, PARAMS)
    assert torch.equal(adapted.vectors, expected.vectors)


def test_class_specific_vectors_are_adapted_too(backbone: Backbone, features: Tensor) -> None:
    start = ContextVectors.random(4, backbone.text_width, torch.Generator().manual_seed(0), n_classes=3)
    adapted = adapt(backbone, features, NAMES, start, PARAMS)
    assert adapted.vectors.shape == (3, 4, backbone.text_width)
    assert bool((adapted.vectors != start.vectors).any(dim=-1).all())


def test_words_mode_keeps_the_frozen_words(backbone: Backbone, features: Tensor) -> None:
    start = initial_context(backbone, "An H&E image patch of {}.", "words")
    adapted = adapt(backbone, features, NAMES, start, PARAMS)
    assert adapted.tail == (8721, 539)
    assert adapted.n_ctx == 5


def test_another_number_of_copies_than_asked_for_is_refused(
    backbone: Backbone, features: Tensor, initial: ContextVectors
) -> None:
    with pytest.raises(ValueError, match="20 noisy copies"):
        adapt(backbone, features[:-1], NAMES, initial, PARAMS)


@pytest.mark.parametrize(
    "template", ["An H&E image patch of {}.", "An H&E image of {} tissue.", "{} texture.", "a photo of {}, a pet."]
)
def test_adaptation_starts_from_the_text_features_of_the_template(backbone: Backbone, template: str) -> None:
    start = text_features(backbone, NAMES, initial_context(backbone, template, "tokens"))
    torch.testing.assert_close(start, template_features(backbone, NAMES, template))


@pytest.mark.parametrize(("template", "context"), [("{}.", "tokens"), ("{}", "words"), ("{} texture.", "words")])
def test_a_template_without_a_word_to_learn_is_refused(backbone: Backbone, template: str, context: str) -> None:
    with pytest.raises(Rejected) as caught:
        initial_context(backbone, template, context)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_request"
