"""`python -m certrad.bench noise-space` compares both noises and counts images at each radius."""

import numpy as np
import pytest
import torch

from certrad.bench.common.native_noise import Found, Job, compare, smaller
from certrad.bench.common.noisy_images import as_input
from certrad.bench.measure.noise_space import Comparison, as_markdown, recipe
from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.shipped import shipped_backbones, shipped_tasks


def found(model: float | None, native: float | None) -> Found:
    return Found(side=64, sigma=0.5, native_sigma=0.2887, model=model, native=native)


@pytest.mark.parametrize("side", [64, 32])
def test_both_noises_reach_the_same_radius_when_every_sample_agrees(side: int) -> None:
    backbone = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    pixels = np.random.default_rng(0).integers(90, 160, (side, side), dtype=np.uint8)
    with torch.inference_mode():
        feature = backbone.encode_image(torch.from_numpy(as_input(np.full((64, 64), 128, np.uint8)))[None])
    always = torch.nn.functional.normalize(torch.cat([feature, -feature]).float())
    both = compare(
        Job(pixels=pixels, label=0, sigma=0.25, n0=10, n=50),
        backbone,
        {(side, "model input"): always, (side, "image"): always},
    )
    assert both.model is not None
    assert both.native is not None
    assert both.model > 5
    assert both.native == pytest.approx(both.model, abs=0.1)  # the radius on the image is floored to 255 / 10,000


def test_images_are_counted_at_each_radius_with_either_noise_or_one() -> None:
    comparison = Comparison.of([found(6.0, 12.0), found(5.0, None), found(None, 0.5), found(None, None)])
    assert (comparison.images, comparison.model[:3], comparison.native[:3]) == (4, [2, 2, 0], [2, 1, 1])
    assert (comparison.only_model[:3], comparison.only_native[:3]) == ([1, 1, 0], [1, 0, 1])
    table = as_markdown([comparison])
    assert "| 64 | model input | 0.5000 | 50.0 | 50.0 | 0.0 |" in table
    assert "| 64 | gain (images won:lost) |  | +0.0 (1:1) | -25.0 (0:1) | +25.0 (1:0) |" in table


def test_smaller_images_are_means_of_blocks_in_whole_grey_levels() -> None:
    pixels = np.array([[0, 3, 10, 10], [1, 4, 10, 10], [9, 9, 0, 255], [9, 9, 255, 0]], dtype=np.uint8)
    assert smaller(pixels, 2).tolist() == [[2, 10], [9, 128]]
    assert np.array_equal(smaller(pixels, 4), pixels)
    with pytest.raises(ValueError, match="must divide 4"):
        smaller(pixels, 3)


def test_the_recipe_is_that_of_the_shipped_prompt() -> None:
    prompt = shipped_tasks()["mednist"].default_prompt
    assert prompt is not None
    assert recipe(prompt).class_specific
    assert recipe(prompt).sigmas == (0.1, 0.25, 0.5, 0.75, 1.0)
