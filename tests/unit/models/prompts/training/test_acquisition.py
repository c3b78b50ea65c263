"""Changes of acquisition keep the anatomy and change what a scanner, a window or an export changes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from certrad.models.prompts.training.acquisition import (
    RANGES,
    AcquisitionRanges,
    background_level,
    change_acquisition,
)

NOTHING: Mapping[str, Any] = {
    "changed": 1.0,
    "windowed": 0.0,
    "lifted": 0.0,
    "barred": 0.0,
    "gamma": (1.0, 1.0),
    "zoom": (1.0, 1.0),
    "aspect": (1.0, 1.0),
    "tilt": (0.0, 0.0),
    "shift": (0.0, 0.0),
}
"""Ranges that change no pixel."""
BACKGROUND = 0.1


def changed(images: Tensor, seed: int = 0, **ranges: Any) -> Tensor:
    return change_acquisition(images, AcquisitionRanges(**ranges), torch.Generator().manual_seed(seed))


def only(images: Tensor, **ranges: Any) -> Tensor:
    """Images under one kind of change."""
    return changed(images, **{**NOTHING, **ranges})


def pictures(number: int, side: int = 32) -> Tensor:
    """A bright block above the centre and a darker one left of it, on a flat background."""
    image = torch.full((1, 3, side, side), BACKGROUND)
    image[..., side // 4 : side // 2, side // 4 : 3 * side // 4] = 0.9
    image[..., side // 2 : 5 * side // 8, side // 4 : side // 2] = 0.5
    return image.repeat(number, 1, 1, 1)


def test_one_generator_gives_the_same_images_and_another_seed_others() -> None:
    images = pictures(8)
    assert torch.equal(changed(images, 1), changed(images, 1))
    assert not torch.equal(changed(images, 1), changed(images, 2))


@pytest.mark.parametrize("side", [64, 224])
def test_the_images_keep_their_size_and_their_range(side: int) -> None:
    found = changed(torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(3)))
    assert found.shape == (6, 3, side, side)
    assert 0 <= found.min() <= found.max() <= 1


def test_the_share_of_changed_images_is_that_of_the_ranges() -> None:
    images = pictures(400)
    same = (changed(images, changed=0.25) == images).flatten(1).all(dim=1)
    # 400 draws of 3 in 4 are between 250 and 350 but for a probability below 1e-7.
    assert 250 < int(same.sum()) < 350


def test_ranges_of_a_point_change_nothing() -> None:
    assert torch.allclose(only(pictures(4)), pictures(4), atol=1e-6)


def test_the_channels_of_an_image_are_changed_alike() -> None:
    found = changed(pictures(16))
    assert torch.equal(found[:, 0], found[:, 1])


def test_a_background_of_one_level_gets_many_levels_and_black_among_them() -> None:
    levels = background_level(changed(pictures(200))).flatten()
    assert int((levels == 0).sum()) >= 10
    assert int((levels > 2 * BACKGROUND).sum()) >= 10


def test_a_window_that_begins_above_the_background_makes_it_black() -> None:
    found = only(pictures(8), windowed=1.0, blackened=1.0)
    assert torch.equal(background_level(found), torch.zeros(8, 1, 1, 1))
    assert (found.amax(dim=(1, 2, 3)) > 0.5).all()


def test_a_lifted_floor_is_the_darkest_level() -> None:
    found = only(torch.zeros(8, 1, 16, 16), lifted=1.0, floor=(0.2, 0.3))
    assert (found >= 0.2).all()
    assert (found <= 0.3).all()


def test_gamma_moves_the_greys_and_neither_black_nor_white() -> None:
    ramp = torch.linspace(0, 1, 16).repeat(16, 1)[None, None]
    found = only(ramp, gamma=(2.0, 2.0))
    assert torch.allclose(found, ramp.square(), atol=1e-5)


def test_a_zoomed_image_is_smaller_within_its_background() -> None:
    found = only(pictures(1), zoom=(2.0, 2.0))
    bright = (found > 0.7).sum() / (pictures(1) > 0.7).sum()
    assert float(bright) == pytest.approx(0.25, abs=0.05)
    assert torch.allclose(found[..., :4, :], torch.tensor(BACKGROUND), atol=1e-6)


def test_an_aspect_above_one_makes_the_image_wider_than_high() -> None:
    bright = only(pictures(1, 64), aspect=(1.5, 1.5))[0, 0] > 0.7
    wide, high = int(bright.any(dim=0).sum()), int(bright.any(dim=1).sum())
    assert wide / high == pytest.approx(2 * 1.5, rel=0.1)  # the block is twice as wide as high


def test_a_shift_is_a_share_of_the_side() -> None:
    found = only(pictures(1), shift=(0.125, 0.125))
    assert torch.allclose(found[..., :28, :28], pictures(1)[..., 4:, 4:], atol=1e-5)


def test_bars_are_black_and_at_two_opposite_sides() -> None:
    found = only(torch.ones(40, 1, 32, 32), barred=1.0, bar=(0.1, 0.1))
    rows, columns = ((found == 0).all(dim=dim)[:, 0] for dim in (3, 2))
    sides = [
        tuple(int(line) for line in torch.nonzero(each).flatten())
        for both in zip(rows, columns, strict=True)
        for each in both
    ]
    assert set(sides) == {(), (0, 1, 2, 29, 30, 31)}
    assert all((bool(rows[i].any()), bool(columns[i].any())) in {(True, False), (False, True)} for i in range(40))
    assert {bool(each.any()) for each in rows} == {True, False}


def test_no_image_is_mirrored() -> None:
    found = changed(pictures(200), tilt=(0.0, 0.0))
    below = found[:, 0, 17:20]  # left of the centre lies the darker block
    assert (below[..., 10:14].mean(dim=(1, 2)) >= below[..., 18:22].mean(dim=(1, 2))).all()


def test_ranges_read_from_a_card_are_those_that_were_written() -> None:
    ranges = replace(AcquisitionRanges(), zoom=(0.5, 0.6))
    assert AcquisitionRanges.from_card(json.loads(json.dumps(asdict(ranges)))) == ranges


@pytest.mark.parametrize("wrong", [{"changed": 1.1}, {"floor": (0.3, 0.2)}, {"gamma": (0.0, 1.0)}])
def test_ranges_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AcquisitionRanges(**wrong)


def test_the_named_sets_are_none_and_radiology() -> None:
    assert {"none": None, "radiology": AcquisitionRanges(name="radiology")} == RANGES
