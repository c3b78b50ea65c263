"""AutoAttack and its parts stay in the ball and fool, for any number of classes, also behind a randomised defence."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from certrad.models.attacks.autoattack.apgd import apgd
from certrad.models.attacks.autoattack.fab import _to_plane, fab
from certrad.models.attacks.autoattack.square import square
from certrad.models.attacks.autoattack.suite import AutoAttackParams, Part, auto_attack
from certrad.models.attacks.base import Attack, Classify, accuracy, attacked, classes, require_within
from certrad.models.attacks.losses import (
    Slope,
    cross_entropy,
    dlr,
    margin,
    mean_gradient,
    mean_margin,
    targeted_dlr,
    towards,
)
from certrad.models.attacks.pgd import PgdParams, ascend
from certrad.models.randomness import ImageDraws
from tests.support.toy_classifiers import linear, network, shifting

EPSILON = 3 / 255
FEW = AutoAttackParams(epsilon=EPSILON, iterations=12, queries=60)
PARTS: tuple[Part, ...] = ("apgd-ce", "apgd-dlr", "apgd-margin", "apgd-t", "fab-t", "square")
SOME = 12


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(SOME, 3, 16, 16, generator=seeded(1))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network(n_classes=6)


@pytest.fixture(scope="module")
def classify(model: nn.Module) -> Classify:
    return lambda images, _: 5 * model(images)


@pytest.fixture(scope="module")
def labels(classify: Classify, images: Tensor) -> Tensor:
    return classes(classify, images, seeded())


def run(attack: Attack, images: Tensor, labels: Tensor, epsilon: float = EPSILON) -> Tensor:
    return attacked(attack, images, labels, epsilon=epsilon, generator=seeded())


def still_correct(classify: Classify, adversarial: Tensor, labels: Tensor) -> int:
    return accuracy(classes(classify, adversarial, seeded()), labels).hits


# -- all parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_every_part_fools_and_stays_in_the_ball(classify: Classify, images: Tensor, labels: Tensor, part: Part) -> None:
    params = replace(FEW, epsilon=16 / 255, queries=300, parts=(part,))
    adversarial = run(auto_attack(classify, 6, params), images, labels, params.epsilon)
    assert still_correct(classify, adversarial, labels) < SOME / 2


@pytest.mark.parametrize(
    ("n_classes", "version", "parts"),
    [
        (2, "standard", ("apgd-ce", "apgd-margin", "fab-t", "square")),
        (3, "standard", ("apgd-ce", "apgd-margin", "fab-t", "square")),
        (4, "standard", ("apgd-ce", "apgd-t", "fab-t", "square")),
        (2, "rand", ("apgd-ce", "apgd-margin")),
        (3, "rand", ("apgd-ce", "apgd-dlr")),
    ],
)
def test_few_classes_are_attacked_by_parts_that_they_can_have(
    images: Tensor, n_classes: int, version: str, parts: tuple[Part, ...]
) -> None:
    model = network(n_classes=n_classes)
    params = AutoAttackParams(epsilon=8 / 255, version=version, iterations=6, queries=20, eot_draws=1, evaluations=1)  # type: ignore[arg-type]
    labels = model(images).argmax(1)
    adversarial = run(auto_attack(lambda pixels, _: model(pixels), n_classes, params), images, labels, 8 / 255)
    assert params.parts_for(n_classes) == parts
    assert still_correct(lambda pixels, _: model(pixels), adversarial, labels) < SOME


@pytest.mark.parametrize(("part", "n_classes"), [("apgd-t", 3), ("apgd-dlr", 2)])
def test_part_that_so_few_classes_cannot_have_is_refused(part: Part, n_classes: int) -> None:
    with pytest.raises(ValueError, match=f"{part} needs {n_classes + 1} classes, got {n_classes}"):
        auto_attack(lambda images, _: images, n_classes, replace(FEW, parts=(part,)))


def test_ensemble_is_at_least_as_strong_as_each_part(classify: Classify, images: Tensor, labels: Tensor) -> None:
    few = replace(FEW, iterations=6, queries=20, targets=3)
    whole = still_correct(classify, run(auto_attack(classify, 6, few), images, labels), labels)
    for part in few.parts_for(6):
        alone = run(auto_attack(classify, 6, replace(few, parts=(part,))), images, labels)
        assert whole <= still_correct(classify, alone, labels)


def test_same_seed_gives_the_same_images_and_another_others(classify: Classify, images: Tensor, labels: Tensor) -> None:
    attack = auto_attack(classify, 6, replace(FEW, parts=("apgd-ce", "square"), iterations=2, queries=5))
    first, again, other = (attack(images, labels, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_image_is_attacked_alike_whatever_is_beside_it(classify: Classify, images: Tensor, labels: Tensor) -> None:
    """Each image has draws of its own, so neither the others nor the size of the batches shift what it gets."""
    attack = auto_attack(classify, 6, replace(FEW, iterations=5, queries=20, targets=2))
    together = attack(images[:3], labels[:3], seeded())
    alone = attacked(attack, images[:3], labels[:3], epsilon=EPSILON, generator=seeded(), batch_size=1)
    assert (together - alone).abs().max() < 1e-6


def test_image_that_is_already_misclassified_comes_back_as_it_is(
    classify: Classify, images: Tensor, labels: Tensor
) -> None:
    wrong = (labels + 1) % 6
    assert torch.equal(auto_attack(classify, 6, FEW)(images, wrong, seeded()), images)


def test_image_that_nothing_fools_comes_back_as_the_best_candidate() -> None:
    """Not as the original, which would make the attack look harmless to whatever it is transferred to."""
    classify, weights = linear(n_classes=2, side=16)
    labels = torch.zeros(1, dtype=torch.long)
    away = torch.sign(weights[0] - weights[1])[None]
    image = (0.5 + 0.2 * away).clamp(0, 1)
    adversarial = run(auto_attack(classify, 2, FEW), image, labels)
    assert still_correct(classify, adversarial, labels) == 1
    assert torch.allclose(adversarial, image - EPSILON * away, atol=1e-5)


# -- a randomised defence -------------------------------------------------------------------------------------------


def test_rand_averages_gradients_and_finds_what_one_draw_cannot() -> None:
    # At the grey image both classes are alike; only the mean direction leads to the other class for good.
    classify, direction = shifting(noise=6.0)
    images = torch.full((8, 3, 8, 8), 0.5) - 0.012 * direction
    labels = torch.zeros(8, dtype=torch.long)
    rand = AutoAttackParams(epsilon=8 / 255, version="rand", iterations=5, eot_draws=64, evaluations=64)
    margins = {}
    for eot in (1, 64):
        found = run(auto_attack(classify, 2, replace(rand, eot_draws=eot)), images, labels, 8 / 255)
        # Measured where it is exact: without the noise of the defence.
        margins[eot] = float((direction * (found - 0.5)).sum(dim=(1, 2, 3)).mean())
    assert margins[64] > margins[1] + 0.5


def test_candidate_that_fools_one_draw_by_chance_does_not_count() -> None:
    """Behind this defence an image is misclassified in one draw of eight, and on average never.

    That none of 128 images is misclassified in its first draw has a probability of (7/8)^128 < 1e-7.
    """
    classify, direction = shifting(noise=6.0, side=4)
    images = torch.full((128, 3, 4, 4), 0.5) - 0.02 * direction
    labels = torch.zeros(128, dtype=torch.long)
    params = AutoAttackParams(epsilon=2 / 255, version="rand", iterations=1, eot_draws=128, parts=("apgd-margin",))
    untouched = [
        int((run(auto_attack(classify, 2, replace(params, evaluations=draws)), images, labels) == images)
            .flatten(1).all(dim=1).sum())
        for draws in (1, 500)
    ]  # fmt: skip
    assert untouched[0] > 0
    assert untouched[1] == 0


# -- APGD -----------------------------------------------------------------------------------------------------------


def slope_of(classify: Classify, labels: Tensor, pixels: Tensor) -> Slope:
    return mean_gradient(classify, margin, pixels, labels, eot_draws=1, generator=seeded())


def test_apgd_climbs_higher_than_plain_pgd_of_the_same_steps() -> None:
    """The margin is largest inside the ball, where steps that stay as long as they are only swing about it."""
    images, labels = torch.full((4, 3, 8, 8), 0.5), torch.zeros(4, dtype=torch.long)
    epsilon, steps = 16 / 255, 40
    top = images + epsilon * (torch.rand(images.shape, generator=seeded(1)) - 0.5)

    def classify(pixels: Tensor, _: torch.Generator) -> Tensor:
        away = ((pixels - top) / epsilon).square().mean(dim=(1, 2, 3))
        return torch.stack([away, torch.zeros_like(away)], dim=1)

    slope = partial(slope_of, classify, labels)
    mine = apgd(slope, images, epsilon=epsilon, iterations=steps, draws=ImageDraws.seeded(images, seeded()))
    plain = PgdParams(epsilon=epsilon, steps=steps, start="two_sided", step_factor=2.5)
    theirs = ascend(images, lambda pixels: slope(pixels).gradient, plain, seeded())
    require_within(images, mine, epsilon)
    assert -slope(mine).margin.max() < -slope(theirs).margin.min() / 4


def test_apgd_returns_the_image_of_the_largest_margin_not_the_last() -> None:
    """The margin here goes up and down along the way, whatever the loss does."""
    classify, _ = linear(n_classes=3, side=8)
    images, labels = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1])
    visited = []

    def scrambled(pixels: Tensor) -> Tensor:
        return torch.sin(1000 * pixels.sum(dim=(1, 2, 3)))

    def slope(pixels: Tensor) -> Slope:
        visited.append(scrambled(pixels))
        return replace(slope_of(classify, labels, pixels), margin=scrambled(pixels))

    found = apgd(slope, images, epsilon=0.1, iterations=9, draws=ImageDraws.seeded(images, seeded()))
    assert len(visited) == 10
    assert torch.equal(scrambled(found), torch.stack(visited).max(0).values)
    assert not torch.equal(scrambled(found), visited[-1])


# -- FAB ------------------------------------------------------------------------------------------------------------


def test_step_to_a_plane_is_the_shortest_of_linear_programming() -> None:
    generator, size = seeded(), 12
    for _ in range(20):
        point = torch.rand(size, generator=generator, dtype=torch.float64)
        normal = torch.randn(size, generator=generator, dtype=torch.float64)
        missing = 2 * torch.rand((), generator=generator, dtype=torch.float64) - 1
        wide = (1, 1, 1, size)
        step = _to_plane(point.view(wide), normal.view(wide), missing.view(1)).flatten()
        # Variables: the step, and its length t >= |step_i|.
        rows = torch.cat([torch.cat([s * torch.eye(size), -torch.ones(size, 1)], dim=1) for s in (1, -1)])
        solved = linprog(
            [0.0] * size + [1.0],
            A_ub=rows.numpy(),
            b_ub=[0.0] * (2 * size),
            A_eq=[[*normal.tolist(), 0.0]],
            b_eq=[float(missing)],
            bounds=[(-float(value), 1 - float(value)) for value in point] + [(0, None)],
        )
        assert float(normal @ step) == pytest.approx(float(missing), abs=1e-6)
        assert float(step.abs().max()) == pytest.approx(solved.x[-1], abs=1e-6)
        assert (point + step).min() > -1e-9
        assert (point + step).max() < 1 + 1e-9


def test_fab_finds_the_nearest_point_beyond_a_plane() -> None:
    """On a linear classifier the distance of an image to the boundary is its margin over the L1 norm of the weights."""
    classify, weights = linear(n_classes=2, side=8)
    labels = torch.zeros(1, dtype=torch.long)
    direction = weights[0] - weights[1]
    image = 0.5 + 0.02 * direction.sign()[None]
    distance = float(-margin(classify(image, seeded()), labels) / direction.abs().sum())
    found = fab(
        lambda pixels: mean_gradient(
            classify, towards(torch.ones_like(labels)), pixels, labels, eot_draws=1, generator=seeded()
        ),
        lambda pixels: mean_margin(classify, pixels, labels, draws=1, generator=seeded()),
        image,
        epsilon=0.1,
        iterations=30,
    )
    assert float((found - image).abs().max()) == pytest.approx(distance, rel=0.01)


def test_fab_keeps_the_nearest_point_it_has_seen(classify: Classify, images: Tensor, labels: Tensor) -> None:
    targets = (labels + 1) % 6

    def distances(iterations: int) -> Tensor:
        found = fab(
            lambda pixels: mean_gradient(classify, towards(targets), pixels, labels, eot_draws=1, generator=seeded()),
            lambda pixels: mean_margin(classify, pixels, labels, draws=1, generator=seeded()),
            images,
            epsilon=1.0,
            iterations=iterations,
        )
        assert still_correct(classify, found, labels) == 0
        return (found - images).abs().amax(dim=(1, 2, 3))

    longer = [distances(iterations) for iterations in (1, 2, 3, 10)]
    assert all((later <= earlier).all() for earlier, later in pairwise(longer))
    assert (longer[-1] < longer[0]).all()


# -- Square ---------------------------------------------------------------------------------------------------------


def test_square_needs_no_gradient() -> None:
    """The classifier counts bright pixels: its gradient is zero everywhere."""

    def classify(images: Tensor, _: torch.Generator) -> Tensor:
        bright = (images.detach() > 0.5).double().mean(dim=(1, 2, 3))
        return torch.stack([bright, 1 - bright], dim=1)

    images = torch.full((3, 3, 16, 16), 0.51)
    images[:, :, :, ::2] = torch.rand(3, 3, 16, 8, generator=seeded()) * 0.45
    images[:, :, :4, ::2] = 0.515
    labels = torch.zeros(3, dtype=torch.long)
    assert still_correct(classify, images, labels) == 3
    found = run(
        auto_attack(classify, 2, replace(FEW, parts=("square",), epsilon=0.03, queries=200)), images, labels, 0.03
    )
    assert still_correct(classify, found, labels) == 0


def test_square_only_ever_improves_and_stops_at_success(classify: Classify, images: Tensor, labels: Tensor) -> None:
    asked: list[int] = []

    def margins(pixels: Tensor, of: Tensor) -> Tensor:
        asked.extend(of.tolist())
        return mean_margin(classify, pixels, labels[of], draws=1, generator=seeded())

    def found_after(queries: int) -> Tensor:
        draws = ImageDraws.seeded(images, seeded())
        found = square(margins, images, epsilon=8 / 255, queries=queries, draws=draws)
        return mean_margin(classify, found, labels, draws=1, generator=seeded())

    few = found_after(10)
    asked.clear()
    many = found_after(80)
    assert (many >= few).all()
    assert 0 < int((many > 0).sum()) < len(many)
    assert all(asked.count(index) == 80 for index in (~(many > 0)).nonzero().flatten().tolist())
    assert all(asked.count(index) < 80 for index in (many > 0).nonzero().flatten().tolist())


# -- losses and names -----------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_paper() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.5, 2.0, -1.0]], dtype=torch.float64)
    right, wrong, target = torch.tensor([0]), torch.tensor([2]), torch.tensor([4])
    assert margin(logits, right).item() == -1.0
    assert margin(logits, wrong).item() == 2.5
    assert dlr(logits, right).item() == pytest.approx(-(3 - 2) / (3 - 1))
    assert targeted_dlr(target)(logits, right).item() == pytest.approx(-(3 + 1) / (3 - (1 + 0.5) / 2))
    assert towards(target)(logits, right).item() == -4.0
    assert cross_entropy(logits, right).item() == pytest.approx(math.log(sum(map(math.exp, logits[0].tolist()))) - 3)


def test_only_a_whole_run_is_called_autoattack() -> None:
    whole = AutoAttackParams()
    assert whole.name(6) == "AutoAttack (apgd-ce, apgd-t, fab-t, square)"
    assert whole.name(3) == "AutoAttack (apgd-ce, apgd-margin, fab-t, square)"
    assert replace(whole, version="rand").name(6) == "AutoAttack rand (apgd-ce, apgd-dlr)"
    assert replace(whole, targets=5).name(6) == whole.name(6)  # there are no more


@pytest.mark.parametrize(
    "less",
    [{"iterations": 99}, {"queries": 4999}, {"targets": 4}, {"parts": ("apgd-ce", "apgd-t", "fab-t")}],
)
def test_run_with_anything_left_out_is_called_reduced(less: dict[str, object]) -> None:
    assert replace(AutoAttackParams(), **less).name(6).startswith("reduced AutoAttack (")  # type: ignore[arg-type]


@pytest.mark.parametrize("less", [{"eot_draws": 19}, {"evaluations": 9}, {"iterations": 99}])
def test_rand_with_fewer_draws_is_called_reduced(less: dict[str, object]) -> None:
    rand = AutoAttackParams(version="rand")
    assert replace(rand, **less).name(6).startswith("reduced AutoAttack rand (")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": float("nan")}, "epsilon"),
        ({"version": "plus"}, "version"),
        ({"iterations": 0}, "iterations"),
        ({"eot_draws": 0}, "eot_draws"),
        ({"parts": ()}, "parts"),
    ],
)
def test_parameters_out_of_range_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoAttackParams(**fields)  # type: ignore[arg-type]
