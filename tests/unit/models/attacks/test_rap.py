"""RAP on a surrogate stays in the ball, goes downhill, and has no defect of the released code."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from certrad.models.attacks.base import attacked
from certrad.models.attacks.rap import RapParams, _diversify, rap
from certrad.models.attacks.surrogate import MEAN, STD, HeadParams, body_and_head, load_resnet50, surrogate, train_head
from certrad.models.errors import Rejected
from tests.support.toy_classifiers import network

FEW = RapParams(epsilon=16 / 255, iterations=6, late_start=3, reverse_steps=2)
LABELS = torch.tensor([0, 1, 2])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def body() -> nn.Module:
    """A ResNet-18 with random weights whose batch norms have seen some images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = resnet18()
        with torch.no_grad():
            model(torch.rand(16, 3, 32, 32))
    return body_and_head(model)[0]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=seeded(1))


@pytest.fixture(scope="module")
def head(body: nn.Module, images: Tensor) -> nn.Linear:
    return train_head(body, images.__getitem__, LABELS, 3, HeadParams(epochs=30, lr=0.1))


def true_logits(body: nn.Module, head: nn.Linear, images: Tensor) -> Tensor:
    with torch.no_grad():
        return surrogate(body, head)(images).gather(1, LABELS.unsqueeze(1)).squeeze(1)


def test_attack_lowers_the_true_logit_inside_the_ball(body: nn.Module, head: nn.Linear, images: Tensor) -> None:
    attack = rap(surrogate(body, head), FEW)
    adversarial = attacked(attack, images, LABELS, epsilon=FEW.epsilon, generator=seeded())
    assert (true_logits(body, head, adversarial) < true_logits(body, head, images) - 1).all()


def test_same_seed_gives_the_same_images_and_another_others(body: nn.Module, head: nn.Linear, images: Tensor) -> None:
    attack = rap(surrogate(body, head), replace(FEW, iterations=2, late_start=1))
    first, again, other = (attack(images, LABELS, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_image_is_attacked_alike_whatever_is_beside_it(images: Tensor) -> None:
    model = network(n_classes=3, side=32)
    attack = rap(model, FEW)
    together, alone = attack(images, LABELS, seeded()), attack(images[:1], LABELS[:1], seeded())
    assert (together[:1] - alone).abs().max() < 1e-6


def test_what_rap_finds_withstands_the_reverse_perturbation_better() -> None:
    """Its minimum is flat: the worst that a perturbation of the same size does to it is less than without RAP."""

    # The true logit falls to a sharp minimum along one direction and to a flat, less deep one along the other.
    def model(images: Tensor) -> Tensor:
        move = (images - 0.5).mean(dim=(1, 2, 3)) / 0.05
        sharp, flat = -3 * torch.relu(1 - 4 * (move + 1).abs()), -2 * torch.relu(1 - (move - 0.8).abs() / 1.6)
        return torch.stack([sharp + flat, torch.zeros_like(move)], dim=1)

    images, labels = torch.full((1, 3, 8, 8), 0.5 - 0.75 * 0.05), torch.zeros(1, dtype=torch.long)
    params = RapParams(epsilon=0.1, step=0.004, iterations=60, reverse_epsilon=0.05, diversity=0.0)
    with_rap = rap(model, replace(params, late_start=0))(images, labels, seeded())
    without = rap(model, replace(params, late_start=params.iterations))(images, labels, seeded())

    def worst(found: Tensor) -> float:
        moves = torch.linspace(-0.05, 0.05, 41).view(-1, 1, 1, 1)
        return float(model(found + moves)[:, 0].max())

    assert worst(with_rap) < worst(without) - 0.3


def test_diverse_inputs_are_shrunk_by_half_at_most_and_padded_with_black() -> None:
    images, shapes = torch.ones(1, 3, 32, 32), seeded()
    seen = [_diversify(images, FEW, shapes) for _ in range(400)]
    sides = [round(float(image[0, 0].sum()) ** 0.5) for image in seen]
    assert {image.shape for image in seen} == {images.shape}
    assert all(int(image[0, 0].sum()) == side**2 for image, side in zip(seen, sides, strict=True))
    shrunk = [side for side in sides if side < 32]
    assert min(shrunk) == 16
    assert max(shrunk) == 31
    # Binomial, 400 draws at 0.7: outside of five standard errors with a probability below 1e-6.
    assert abs(len(shrunk) / 400 - FEW.diversity) < 5 * (0.7 * 0.3 / 400) ** 0.5


def test_surrogate_sees_the_normalisation_it_was_trained_with(body: nn.Module, head: nn.Linear, images: Tensor) -> None:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(surrogate(body, head)(images), head(body((images - mean) / std)))
    assert MEAN == (0.485, 0.456, 0.406)


def test_training_the_last_layer_changes_nothing_else(body: nn.Module, images: Tensor) -> None:
    before = {name: value.clone() for name, value in body.state_dict().items()}
    trained = train_head(body, images.__getitem__, LABELS, 3, HeadParams(epochs=30, lr=0.1))
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    assert not body.training
    assert surrogate(body, trained)(images).argmax(1).equal(LABELS)
    assert not any(parameter.requires_grad for parameter in [*body.parameters(), *trained.parameters()])


def test_images_are_asked_for_once_and_never_more_than_a_batch(body: nn.Module, images: Tensor) -> None:
    asked: list[list[int]] = []

    def some(indices: Tensor) -> Tensor:
        asked.append(indices.tolist())
        return images[indices]

    train_head(body, some, LABELS, 3, HeadParams(epochs=2, batch_size=2))
    assert asked == [[0, 1], [2]]


def test_last_layer_depends_on_its_seed_and_leaves_the_global_one_alone(body: nn.Module, images: Tensor) -> None:
    state = torch.get_rng_state()
    first, again = (
        train_head(body, images.__getitem__, LABELS, 3, HeadParams(epochs=3, batch_size=2)) for _ in range(2)
    )
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_resnet50_is_read_from_the_file_that_torchvision_publishes(tmp_path: Path) -> None:
    model = resnet50()
    torch.save(model.state_dict(), tmp_path / "resnet50-0123abcd.pth")
    body, head = load_resnet50(tmp_path)
    assert head.weight.shape == (1000, 2048)
    pixels = torch.rand(1, 3, 32, 32, generator=seeded())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(surrogate(body, head)(pixels), model.train(False)((pixels - mean) / std), atol=1e-5)


def test_missing_or_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"resnet50\*") as missing:
        load_resnet50(tmp_path)
    assert missing.value.code == "model_unavailable"
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "resnet50.pth")
    with pytest.raises(Rejected) as foreign:
        load_resnet50(tmp_path)
    assert foreign.value.code == "invalid_weights"


def test_defaults_are_the_published_settings() -> None:
    params = RapParams()
    assert (params.epsilon, params.step, params.iterations, params.late_start) == (16 / 255, 2 / 255, 400, 100)
    assert (params.reverse_epsilon, params.reverse_steps, params.diversity) == (16 / 255, 8, 0.7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"step": float("nan")}, "step"),
        ({"iterations": 0}, "iterations"),
        ({"diversity": 1.5}, "diversity"),
        ({"late_start": -1}, "late_start"),
    ],
)
def test_parameters_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RapParams(**fields)  # type: ignore[arg-type]
