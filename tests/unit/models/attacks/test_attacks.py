"""Every attack stays in the ball and the range, and accuracy under attack has both figures or none."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from certrad.models.attacks.base import Attack, RobustAccuracy, accuracy, attacked, classes, grid, require_within
from certrad.models.attacks.pgd import ADAPTIVE_PGD_40, PGD_10, adaptive_pgd
from certrad.models.smoothing.accuracy import Share
from tests.support.toy_classifiers import linear

EPSILON = 8 / 255
ADAPTIVE = replace(ADAPTIVE_PGD_40, epsilon=EPSILON, steps=6)
BOTH = RobustAccuracy(
    clean=Share.of(9, 10),
    non_adaptive=Share.of(7, 10),
    adaptive=Share.of(1, 10),
    epsilon=EPSILON,
    non_adaptive_attack="PGD-40 on embeddings",
    adaptive_attack="adaptive PGD-40",
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(10, 3, 32, 32, generator=seeded(1))


def moving_by(distance: float) -> Attack:
    return lambda images, labels, generator: (images + distance).clamp(0, 1)


@pytest.mark.parametrize("missing", [field.name for field in fields(RobustAccuracy)])
def test_one_accuracy_cannot_be_told_without_the_other(missing: str) -> None:
    given = {field.name: getattr(BOTH, field.name) for field in fields(RobustAccuracy) if field.name != missing}
    with pytest.raises(TypeError, match=missing):
        RobustAccuracy(**given)


def test_shares_of_other_images_are_no_pair() -> None:
    with pytest.raises(ValueError, match="same images"):
        replace(BOTH, adaptive=Share.of(1, 9))


def test_attack_that_knows_more_and_does_worse_is_suspected() -> None:
    assert not BOTH.gradient_masking_suspected
    assert replace(BOTH, adaptive=Share.of(8, 10)).gradient_masking_suspected


def test_accuracy_is_the_share_of_labels_with_its_exact_interval() -> None:
    labels = torch.tensor([0, 1, 2, 3] * 5)
    share = accuracy(torch.zeros(20, dtype=torch.long), labels)
    assert (share.hits, share.images, share.value) == (5, 20, 0.25)
    assert (share.low, share.high) == pytest.approx((0.08657, 0.49105), abs=1e-5)  # scipy's binomtest(5, 20)


@pytest.mark.parametrize(("hits", "images"), [(0, 0), (-1, 3), (4, 3)])
def test_impossible_share_is_refused(hits: int, images: int) -> None:
    with pytest.raises(ValueError, match="0 <= hits <= images"):
        Share.of(hits, images)


@pytest.mark.parametrize(
    ("adversarial", "message"),
    [
        (lambda images: images + 9 / 255, "within epsilon"),
        (lambda images: images - 2e-6 - EPSILON, "within epsilon"),
        (lambda images: images * torch.nan, "within epsilon"),
        (lambda images: images - images.min() - 1e-4, r"in \[0, 1\]"),
        (lambda images: images[:1], "shape"),
    ],
)
def test_image_outside_the_ball_or_the_range_is_refused(
    images: Tensor, adversarial: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        require_within(images, adversarial(images), EPSILON)


def test_float_rounding_is_not_refused(images: Tensor) -> None:
    require_within(images, (images + EPSILON).clamp(0, 1), EPSILON)


def test_attack_that_cheats_is_found_out(images: Tensor) -> None:
    labels = torch.zeros(10, dtype=torch.long)
    with pytest.raises(ValueError, match="within epsilon"):
        attacked(moving_by(2 * EPSILON), images, labels, epsilon=EPSILON, generator=seeded())


def test_batches_do_not_change_what_is_found(images: Tensor) -> None:
    classify, _ = linear(n_classes=3)
    labels = classes(classify, images, seeded())
    done: list[int] = []
    by_three, whole = (
        attacked(
            adaptive_pgd(classify, ADAPTIVE),
            images,
            labels,
            epsilon=EPSILON,
            generator=seeded(),
            batch_size=size,
            on_batch=done.append,
        )
        for size in (3, 32)
    )
    assert (by_three - whole).abs().max() < 1e-6
    assert done == [3, 6, 9, 10, 10]


def test_logits_that_are_not_finite_are_the_class_of_no_label() -> None:
    logits = torch.tensor([[0.0, 1.0], [torch.nan, 1.0], [torch.inf, 1.0]])
    assert classes(lambda *_: logits, torch.zeros(3, 3, 8, 8), seeded()).tolist() == [1, -1, -1]


@pytest.mark.parametrize("epsilon", [0.5 / 255, 8 / 255, 16 / 255])
def test_pictures_of_8_bits_stay_in_the_ball_near_the_adversarial_image(images: Tensor, epsilon: float) -> None:
    corner = (images + epsilon * torch.rand(images.shape, generator=seeded()).sub(0.5).sign()).clamp(0, 1)
    pictures = grid(images, corner, epsilon)
    assert pictures.dtype == torch.uint8
    require_within(images, pictures / 255, epsilon)
    assert (pictures / 255 - corner).abs().max() <= 1 / 255 + 1e-6


def test_ball_without_a_picture_in_it_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"0\.5/255"):
        grid(images, images, 0.4 / 255)


def test_presets_are_the_published_ones() -> None:
    assert (PGD_10.epsilon, PGD_10.steps, PGD_10.start, PGD_10.step_factor) == (8 / 255, 10, "one_sided", 1.25)
