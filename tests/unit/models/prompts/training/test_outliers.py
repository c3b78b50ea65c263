"""Outliers are drawn from a seed and from the labelled images alone."""

import pytest
import torch

from certrad.models.prompts.training.outliers import CUT, DRAWN, outlier_images, outliers_sha256

SIDE = 32
KNOWN = torch.rand(6, 3, 1, SIDE, generator=torch.Generator().manual_seed(0)).expand(6, 3, SIDE, SIDE).contiguous()
LABELS = torch.arange(6) % 2


def test_there_are_as_many_of_every_family_in_grey_levels_of_8_bits() -> None:
    images = outlier_images(KNOWN, LABELS, 3, seed=1)
    assert images.shape == (3 * (len(DRAWN) + len(CUT)), 3, SIDE, SIDE)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert torch.allclose(images * 255, (images * 255).round(), atol=1e-4)
    drawn = images[: 3 * len(DRAWN)]
    assert torch.equal(drawn[:, 0], drawn[:, 1])


def test_one_seed_draws_one_set_and_its_digest_names_it() -> None:
    first, again, other = (outlier_images(KNOWN, LABELS, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert outliers_sha256(first) == outliers_sha256(again) != outliers_sha256(other)


def test_more_images_of_each_family_leave_the_first_ones_as_they_are() -> None:
    few, many = outlier_images(KNOWN, LABELS, 1, seed=1), outlier_images(KNOWN, LABELS, 3, seed=1)
    assert torch.equal(few[0], many[0])
    assert torch.equal(few[1], many[3])


@pytest.mark.parametrize("name", CUT)
def test_pieces_come_from_the_labelled_images_and_no_outlier_is_one_of_them(name: str) -> None:
    place = 4 * (len(DRAWN) + list(CUT).index(name))
    images = outlier_images(KNOWN, LABELS, 4, seed=3)[place : place + 4]
    for image in images:
        assert not any(torch.allclose(image, known, atol=1 / 255) for known in KNOWN)
        assert float(image.min()) >= float(KNOWN.min()) - 1 / 255
        assert float(image.max()) <= float(KNOWN.max()) + 1 / 255
