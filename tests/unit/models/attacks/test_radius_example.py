"""The example of a radius has that norm, stays in the range of pixels, and leads towards the runner-up."""

import math
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from certrad.models.attacks.radius_example import Change, ExampleParams, Logits, NoDirectionError, change_within
from tests.support.toy_classifiers import network

SIDE: Final = 16
SIGMA: Final = 0.1
K: Final = 4


def image(kind: str = "grey") -> NDArray[np.float32]:
    grey = np.random.default_rng(3).random((3, SIDE, SIDE), dtype=np.float32)
    if kind == "black and white":
        grey = np.where(grey < 0.45, 0, np.where(grey > 0.55, 1, grey)).astype(np.float32)
    return grey


def net() -> Logits:
    return network(n_classes=K, side=SIDE)


def change(logits: Logits, pixels: NDArray[np.float32], *, seed: int = 0, **settings: Any) -> Change:
    usual = {"class_index": 0, "runner_up": 1, "sigma": SIGMA, "radius": 0.3127, "params": ExampleParams()}
    generator = torch.Generator().manual_seed(seed)
    return change_within(pixels, logits, **{**usual, **settings}, generator=generator, device=torch.device("cpu"))


def margin(logits: Logits, pixels: NDArray[Any], runner_up: int = 1) -> float:
    """Mean margin of the runner-up over class 0 under noise that no change was made with."""
    generator = torch.Generator().manual_seed(99)
    noise = SIGMA * torch.randn((512, *pixels.shape), generator=generator)
    mean = logits(torch.from_numpy(pixels.astype(np.float32)) + noise).mean(dim=0)
    return float(mean[runner_up] - mean[0])


@pytest.mark.parametrize("radius", [0.0001, 0.3127, 4.5])
@pytest.mark.parametrize("kind", ["grey", "black and white"])
def test_norm_is_the_radius_and_never_above_it(kind: str, radius: float) -> None:
    made = change(net(), image(kind), radius=radius)
    exact = math.fsum((int(step) * made.unit) ** 2 for step in made.steps.ravel())
    assert radius * (1 - 1e-3) <= math.sqrt(exact) <= radius
    assert made.norm <= radius
    assert made.norm == pytest.approx(math.sqrt(exact), abs=1e-8)


@pytest.mark.parametrize("kind", ["grey", "black and white"])
def test_changed_image_stays_in_the_range_of_pixels(kind: str) -> None:
    pixels = image(kind)
    made = change(net(), pixels, radius=4.5)
    changed = pixels.astype(np.float64) + made.steps * made.unit
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0


def test_norm_is_below_a_radius_for_which_the_range_leaves_no_room() -> None:
    pixels = image("black and white")
    made = change(net(), pixels, radius=1000.0)
    farthest = math.sqrt(float((np.maximum(pixels, 1 - pixels).astype(np.float64) ** 2).sum()))
    assert 0.5 * farthest < made.norm <= farthest + 1e-3
    changed = pixels.astype(np.float64) + made.steps * made.unit
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0


def test_change_leads_towards_the_runner_up() -> None:
    logits, pixels = net(), image()
    made = change(logits, pixels)
    before, after = margin(logits, pixels), margin(logits, pixels + made.steps * made.unit)
    other_way = margin(logits, pixels - made.steps * made.unit)
    assert after > before > other_way
    drawn = np.random.default_rng(0).standard_normal(pixels.shape)
    blind = margin(logits, pixels + drawn * (made.norm / np.linalg.norm(drawn)))
    assert after - before > 5 * abs(blind - before)


def test_equal_arguments_give_equal_changes() -> None:
    first, second, other = (change(net(), image(), seed=seed) for seed in (5, 5, 6))
    assert (first.steps == second.steps).all()
    assert (first.unit, first.norm) == (second.unit, second.norm)
    assert (first.steps != other.steps).any()


def test_without_counts_the_runner_up_is_the_second_of_the_mean_logits() -> None:
    logits, pixels = net(), image()
    noise = SIGMA * torch.randn((512, *pixels.shape), generator=torch.Generator().manual_seed(99))
    order = logits(torch.from_numpy(pixels) + noise).mean(dim=0).argsort(descending=True).tolist()
    assert change(logits, pixels, class_index=order[0], runner_up=None).runner_up == order[1]
    assert change(logits, pixels, class_index=order[1], runner_up=None).runner_up == order[0]


@pytest.mark.parametrize("value", [0.0, math.nan], ids=["flat", "not a number"])
def test_without_a_gradient_there_is_no_direction(value: float) -> None:
    def logits(pixels: Tensor) -> Tensor:
        return (pixels.flatten(1).sum(dim=1, keepdim=True) * value).expand(-1, K)

    with pytest.raises(NoDirectionError):
        change(logits, image())


@pytest.mark.parametrize(
    ("samples", "dtype", "steps", "draws"),
    [
        (30, torch.float32, 1, 1),
        (110, torch.float32, 1, 1),
        (1100, torch.float32, 4, 3),
        (10_100, torch.float32, 4, 8),
        (1_000_000, torch.float32, 4, 8),
        (1100, torch.bfloat16, 2, 1),
        (10_100, torch.bfloat16, 4, 6),
    ],
)
def test_steps_take_a_share_of_the_samples_and_one_copy_at_least(
    samples: int, dtype: torch.dtype, steps: int, draws: int
) -> None:
    params = ExampleParams.within(0.05, samples, torch.device("cpu"), dtype)
    assert (params.steps, params.draws) == (steps, draws)
