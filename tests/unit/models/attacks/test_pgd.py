"""PGD goes uphill inside the ball and in range, on image features and through a classifier, alike for one seed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from certrad.models.attacks.losses import LOSSES, LossName
from certrad.models.attacks.pgd import (
    ADAPTIVE_PGD_40,
    PgdParams,
    adaptive_pgd,
    attack,
    embedding_divergence,
    embedding_pgd,
)
from certrad.models.backbones.base import Backbone, load_backbone
from tests.support import tiny_clip
from tests.support.toy_classifiers import linear, shifting

PARAMS = PgdParams(epsilon=16 / 255, steps=6)
ADAPTIVE = replace(ADAPTIVE_PGD_40, steps=8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


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


def test_the_divergence_is_the_kl_of_clean_from_adversarial() -> None:
    clean, adversarial = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, q = clean.softmax(-1), adversarial.softmax(-1)
    assert torch.isclose(embedding_divergence(clean)(adversarial), (p * (p / q).log()).sum())


def test_the_divergence_has_no_gradient_at_the_clean_image() -> None:
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


def test_an_image_is_attacked_alike_whatever_is_beside_it(images: Tensor, tmp_path: Path) -> None:
    """In float64, else the batch would change the rounding of a gradient, and that the sign of one near zero."""
    tiny_clip.write_open_clip(tmp_path)
    backbone = load_backbone(tiny_clip.card("open_clip"), tmp_path, dtype=torch.float64)
    with torch.no_grad():
        clean = backbone.encode_image(images).float()
    together = attack(backbone, images, embedding_divergence(clean), PARAMS, torch.Generator().manual_seed(0))
    first = attack(backbone, images[:1], embedding_divergence(clean[:1]), PARAMS, torch.Generator().manual_seed(0))
    assert (together[:1] - first).abs().max() < 1e-6


def test_papers_attack_knows_no_label(backbone: Backbone, images: Tensor) -> None:
    by_embedding = embedding_pgd(backbone, PARAMS)
    first, second = (by_embedding(images, labels, torch.Generator().manual_seed(0)) for labels in (LABELS, 1 - LABELS))
    assert torch.equal(first, second)
    assert torch.equal(first, attacked(backbone, images))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_adaptive_attack_on_a_linear_classifier_ends_in_its_corner(images: Tensor, loss: LossName) -> None:
    classify, weights = linear(n_classes=2)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    adversarial = adaptive_pgd(classify, ADAPTIVE, loss=loss)(images, labels, torch.Generator().manual_seed(0))
    direction = (weights[1 - labels] - weights[labels]).sign()
    corner = (images + ADAPTIVE.epsilon * direction).clamp(0, 1)
    assert (adversarial - corner).abs().max() < 1e-6


def test_adaptive_attack_on_an_image_does_not_know_what_is_beside_it(images: Tensor) -> None:
    classify, _ = linear(n_classes=3)
    by_pgd = adaptive_pgd(classify, ADAPTIVE)
    together = by_pgd(images, LABELS, torch.Generator().manual_seed(0))
    alone = by_pgd(images[:1], LABELS[:1], torch.Generator().manual_seed(0))
    assert (together[:1] - alone).abs().max() < 1e-6


def test_same_seed_gives_the_same_adversarial_images(images: Tensor) -> None:
    classify, _ = linear(n_classes=3)
    one_step = adaptive_pgd(classify, replace(ADAPTIVE, steps=1))
    first, again, other = (one_step(images, LABELS, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_expectation_over_the_defence_finds_what_one_draw_cannot() -> None:
    """The sign of one draw's gradient is nearly a coin; that of the mean of 64 is nearly always right."""
    classify, direction = shifting(noise=3.0)
    images, labels = torch.full((4, 3, 8, 8), 0.5), torch.zeros(4, dtype=torch.long)
    once = replace(ADAPTIVE, steps=1, step_factor=2.0)
    right = {
        eot: (
            adaptive_pgd(classify, once, eot_draws=eot)(images, labels, torch.Generator().manual_seed(0)) - images
        ).sign()
        == direction
        for eot in (1, 64)
    }
    assert right[64].float().mean() > right[1].float().mean() + 0.2


def test_confident_classifier_still_has_a_gradient() -> None:
    """In float32 the softmax of logits that differ by 25 is exactly 1, and the label's share of the gradient 0."""
    logits = torch.tensor([[25.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(LOSSES["cross_entropy"](logits, torch.tensor([0])).sum(), logits)
    assert gradient[0, 0] < 0 < gradient[0, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"steps": 0}, "steps"),
        ({"start": "zero"}, "start"),
        ({"step_factor": 0.0}, "step_factor"),
    ],
)
def test_parameters_out_of_range_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PgdParams(**fields)  # type: ignore[arg-type]
