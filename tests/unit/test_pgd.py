"""PGD on image features: inside the ball, on the range, uphill, and the same from the same seed."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.attacks.pgd import PgdParams, attack, embedding_divergence, misclassification
from models.backbones.base import Backbone
from models.classifier import VisionLanguageClassifier
from tests.support import tiny_clip

PARAMS = PgdParams(epsilon=16 / 255, steps=6)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def images() -> Tensor:
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return images.index_fill(0, torch.tensor([0]), 0.0).index_fill(0, torch.tensor([1]), 1.0)


def attacked(backbone: Backbone, images: Tensor, params: PgdParams = PARAMS, seed: int = 0) -> Tensor:
    with torch.no_grad():
        clean = backbone.encode_image(images).float()
    return attack(backbone, images, embedding_divergence(clean), params, torch.Generator().manual_seed(seed))


def test_the_divergence_is_the_kl_of_the_clean_from_the_adversarial_distribution() -> None:
    clean, adversarial = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, q = clean.softmax(-1), adversarial.softmax(-1)
    assert torch.isclose(embedding_divergence(clean)(adversarial), (p * (p / q).log()).sum())


def test_the_divergence_has_no_gradient_at_the_clean_image_so_the_start_is_random() -> None:
    clean = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    at_clean = clean.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(embedding_divergence(clean)(at_clean), at_clean)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("start", ["one_sided", "two_sided"])
def test_adversarial_images_stay_in_the_ball_and_in_range(backbone: Backbone, images: Tensor, start: str) -> None:
    adversarial = attacked(backbone, images, PgdParams(epsilon=16 / 255, steps=6, start=start))  # type: ignore[arg-type]
    assert (adversarial - images).abs().max() <= 16 / 255 + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_the_attack_goes_further_than_its_random_start(backbone: Backbone, images: Tensor) -> None:
    start = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * PARAMS.epsilon
    adversarial = attacked(backbone, images)
    with torch.no_grad():
        objective = embedding_divergence(backbone.encode_image(images).float())
        before = objective(backbone.encode_image((images + start).clamp(0, 1)).float())
        after = objective(backbone.encode_image(adversarial).float())
    assert after > 4 * before


def test_an_image_is_attacked_alike_whatever_is_beside_it(backbone: Backbone, images: Tensor) -> None:
    with torch.no_grad():
        clean = backbone.encode_image(images).float()
    together = attack(backbone, images, embedding_divergence(clean), PARAMS, torch.Generator().manual_seed(0))
    first = attack(backbone, images[:1], embedding_divergence(clean[:1]), PARAMS, torch.Generator().manual_seed(0))
    assert (together[:1] - first).abs().max() < 0.01 * PARAMS.epsilon


def test_the_adaptive_objective_is_the_loss_of_the_learned_prompt(backbone: Backbone) -> None:
    texts = F.normalize(torch.randn(3, backbone.embed_dim, generator=torch.Generator().manual_seed(0)), dim=-1)
    classifier = VisionLanguageClassifier(backbone, texts)
    features = torch.randn(2, backbone.embed_dim, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([2, 0])
    loss = F.cross_entropy(backbone.logit_scale * F.normalize(features, dim=-1) @ texts.T, labels, reduction="sum")
    assert torch.isclose(misclassification(classifier.logits_of_features, labels)(features), loss)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"steps": 0}, "steps"),
        ({"start": "zero"}, "start"),
    ],
)
def test_parameters_out_of_range_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PgdParams(**fields)  # type: ignore[arg-type]
