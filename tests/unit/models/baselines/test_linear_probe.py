"""The linear probe is at the minimum of its loss, searches C as CoOp does, and classifies pixels."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.pgd import PgdParams, adaptive_pgd
from certrad.models.baselines.linear_probe import LinearHead, LinearProbe, fit, search
from tests.support.tiny_clip import tiny_backbone


def clusters(n: int, seed: int, *, wrong: float = 0.0, dimensions: int = 60) -> tuple[Tensor, Tensor]:
    """Three classes that differ in three of the features, a share of them with another's label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    features = torch.randn(n, dimensions, generator=generator)
    features[:, :3] += 2.5 * F.one_hot(labels, 3)
    relabelled = torch.rand(n, generator=generator) < wrong
    return features, torch.where(relabelled, (labels + 1) % 3, labels)


def accuracy(head: LinearHead, labelled: tuple[Tensor, Tensor]) -> float:
    features, labels = labelled
    return float((head.logits(features).argmax(dim=1) == labels).float().mean())


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_the_fit_is_where_the_gradient_of_the_penalised_loss_vanishes(c: float) -> None:
    features, labels = clusters(90, 0)
    head = fit(features, labels, 3, c)
    weight, bias = (tensor.double().requires_grad_(True) for tensor in (head.weight, head.bias))
    loss = c * F.cross_entropy(features.double() @ weight.T + bias, labels, reduction="sum") + weight.square().sum() / 2
    slopes = torch.autograd.grad(loss, (weight, bias))
    assert max(float(slope.abs().max()) for slope in slopes) < 2e-4 * c * len(labels)


def test_the_search_finds_the_penalty_that_validation_asks_for() -> None:
    train, validation, test = clusters(60, 0, wrong=0.25), clusters(300, 1), clusters(600, 2)
    found, unpenalised = search(train, validation, 3), fit(*train, 3, 1e6)
    assert found.c < 1
    assert accuracy(found, test) > accuracy(unpenalised, test) + 0.1


def test_where_every_penalty_does_the_search_ends_below_the_largest_c() -> None:
    apart = (20 * F.one_hot(torch.arange(12) % 3, 3).float(), torch.arange(12) % 3)
    head = search(apart, apart, 3)
    # The first of equals is 10^6; eight halvings towards the left end of 10^5..10^7 evaluate 10^5 last.
    assert head.c == pytest.approx(1e5)
    assert accuracy(head, apart) == 1


def test_it_classifies_by_features_and_an_attack_can_follow_it(tmp_path: Path) -> None:
    backbone = tiny_backbone(tmp_path)
    images = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    with torch.no_grad():
        features = backbone.encode_image(images)
    probe = LinearProbe(backbone, fit(features, labels, 3, 1e4))
    assert (probe.n_classes, probe.input_shape, probe.device) == (3, (3, 32, 32), backbone.device)
    assert torch.equal(probe.logits(images), probe.logits_of_features(features))
    pgd = adaptive_pgd(lambda pixels, _: probe.logits(pixels), PgdParams(epsilon=8 / 255, steps=5, start="two_sided"))
    attacked = pgd(images, labels, torch.Generator().manual_seed(0))
    with torch.no_grad():
        losses = [F.cross_entropy(probe.logits(x), labels) for x in (images, attacked)]
    assert losses[1] > 2 * losses[0]


def test_a_head_for_other_features_is_refused(tmp_path: Path) -> None:
    head = LinearHead(weight=torch.zeros(3, 5), bias=torch.zeros(3), c=1.0)
    with pytest.raises(ValueError, match="the head must take 16 features; got 5"):
        LinearProbe(tiny_backbone(tmp_path), head)


@pytest.mark.parametrize(
    ("labels", "c", "message"),
    [([0, 3], 1.0, r"0\.\.2, got 0\.\.3"), ([-1, 0], 1.0, r"0\.\.2"), ([0], 1.0, "labels"), ([0, 1], 0.0, "c must be")],
)
def test_a_fit_that_cannot_be_is_refused(labels: list[int], c: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(torch.ones(2, 4), torch.tensor(labels), 3, c)
