"""Adversarial training of the image encoder works on a copy, against the right attack, and is timed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.base import Attack
from certrad.models.attacks.pgd import PgdParams, adaptive_pgd, embedding_pgd
from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.baselines.adversarial_training import Method, TrainingParams, train
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.randomness import seeded
from tests.support import tiny_clip

LABELS = torch.arange(10) % 3
PARAMS = TrainingParams(method="fast", steps=4, batch_size=4, lr=0.01)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    tiny_clip.write_open_clip(directory)
    return directory


@pytest.fixture
def backbone(directory: Path) -> Backbone:
    return load_backbone(tiny_clip.card("open_clip"), directory)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def texts(backbone: Backbone) -> Tensor:
    return F.normalize(torch.randn(3, backbone.embed_dim, generator=torch.Generator().manual_seed(0)), dim=-1)


def weights(backbone: Backbone) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in backbone.image_tower.state_dict().items()}


def known_attack(backbone: Backbone, texts: Tensor, method: Method) -> Attack:
    if method == "pgd":
        return embedding_pgd(backbone, PgdParams(epsilon=8 / 255, steps=10))
    logits = VisionLanguageClassifier(backbone, texts).logits
    return adaptive_pgd(lambda x, _: logits(x), PgdParams(epsilon=8 / 255, steps=1, start="two_sided"))


@pytest.mark.parametrize("method", ["pgd", "fast"])
def test_the_backbone_that_is_given_stays_and_a_copy_is_trained(
    backbone: Backbone, texts: Tensor, images: Tensor, method: Method
) -> None:
    before = weights(backbone)
    trained = train(backbone, texts, images.__getitem__, LABELS, replace(PARAMS, method=method)).backbone
    assert all(torch.equal(value, before[key]) for key, value in weights(backbone).items())
    assert any(not torch.equal(value, before[key]) for key, value in weights(trained).items())
    assert trained.card.id == f"tiny-at-{method}"
    assert trained.sha256 != backbone.sha256
    assert not any(parameter.requires_grad for parameter in trained.image_tower.parameters())


@pytest.mark.parametrize("method", ["pgd", "fast"])
def test_training_lowers_the_loss_under_the_attack_it_was_trained_with(
    backbone: Backbone, texts: Tensor, images: Tensor, method: Method
) -> None:
    params = replace(PARAMS, method=method, steps=15, batch_size=10, lr=0.02)
    trained = train(backbone, texts, images.__getitem__, LABELS, params)

    def loss(candidate: Backbone) -> float:
        attack = known_attack(candidate, texts, method)
        attacked = attack(images, LABELS, torch.Generator().manual_seed(0))
        with torch.no_grad():
            return float(F.cross_entropy(VisionLanguageClassifier(candidate, texts).logits(attacked), LABELS))

    assert loss(trained.backbone) < 0.8 * loss(backbone)


@pytest.mark.parametrize("method", ["pgd", "fast"])
def test_a_step_is_taken_on_the_images_of_the_published_attack(
    backbone: Backbone, texts: Tensor, images: Tensor, method: Method
) -> None:
    losses: list[float] = []
    params = replace(PARAMS, method=method, steps=1, batch_size=1)
    train(backbone, texts, images.__getitem__, LABELS[:1], params, on_step=lambda _, loss: losses.append(loss))
    generator = seeded(params.seed, "epoch", 0)
    torch.randperm(1, generator=generator)  # the order of the only image
    attacked = known_attack(backbone, texts, method)(images[:1], LABELS[:1], generator)
    with torch.no_grad():
        logits = VisionLanguageClassifier(backbone, texts).logits(attacked)
    assert losses == pytest.approx([float(F.cross_entropy(logits, LABELS[:1]))], rel=1e-5)


def test_the_seconds_of_all_steps_and_the_steps_that_see_every_image(
    backbone: Backbone, texts: Tensor, images: Tensor
) -> None:
    ticks: Iterator[float] = iter((100.0, 110.0))
    trained = train(backbone, texts, images.__getitem__, LABELS, PARAMS, clock=lambda: next(ticks))
    # Ten images in batches of four are three steps; four steps took ten seconds.
    assert (trained.seconds, trained.steps, trained.steps_per_epoch) == (10.0, 4, 3)


def test_one_seed_is_one_training(backbone: Backbone, texts: Tensor, images: Tensor) -> None:
    first, again, other = (
        train(backbone, texts, images.__getitem__, LABELS, replace(PARAMS, seed=seed)).backbone.sha256
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_an_encoder_of_low_precision_is_refused(directory: Path, texts: Tensor, images: Tensor) -> None:
    low = load_backbone(tiny_clip.card("open_clip"), directory, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="must run in float32; got"):
        train(low, texts, images.__getitem__, LABELS, PARAMS)


@pytest.mark.parametrize("fields", [{"method": "free"}, {"steps": 0}, {"batch_size": 0}, {"lr": float("nan")}])
def test_parameters_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        replace(PARAMS, **fields)  # type: ignore[arg-type]
