"""The bench shows what a classifier makes of the background level of an image."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from certrad.bench.common.real_images import REAL_IMAGES, RealImage
from certrad.bench.measure import shortcut
from certrad.bench.measure.shortcut import Votes, as_markdown, has_background, with_background
from certrad.models.prompts.training.acquisition import background_level
from certrad.models.shipped import shipped_backbones, shipped_tasks
from tests.support.mednist_zip import write_mednist_zip

NAMES = ("abdomen CT", "head CT")


def head(background: float) -> Tensor:
    """A bright disc's place on a flat background, with a dark part inside."""
    image = torch.full((3, 32, 32), background)
    image[:, 8:24, 8:24] = 0.8
    image[:, 14:18, 14:18] = background / 2
    return image


@pytest.mark.parametrize("background", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("level", [0.0, 0.25])
def test_the_background_gets_the_level_whatever_it_was(background: float, level: float) -> None:
    found = with_background(head(background), level)
    assert background_level(found[None]).item() == pytest.approx(level, abs=1e-6)
    assert found.min() >= level
    assert found[:, 10, 10].min() > level


def test_an_image_that_fills_its_frame_keeps_what_is_brighter_than_the_level() -> None:
    filled = torch.linspace(0.3, 0.9, 32).repeat(3, 32, 1)
    assert has_background(head(0.5))
    assert not has_background(filled)
    assert torch.equal(with_background(filled, 0.2), filled)


def test_a_cell_shows_the_true_class_and_a_frequent_other_one() -> None:
    votes = [
        Votes(prompt="p", sigma=0.25, image="a.dcm", truth="head CT", level=level, counts=counts)
        for level, counts in ((None, (60, 40, 0)), (0, (4, 96, 0)))
    ]
    table = as_markdown(votes, NAMES)
    assert "| image | class | as it is | 0 |" in table
    assert "| a.dcm | head CT | 40 (abdomen CT 60) | 96 |" in table


def test_images_of_one_class_are_one_row() -> None:
    votes = [
        Votes(prompt="p", sigma=0.5, image="MedNIST", truth="head CT", level=None, counts=counts)
        for counts in ((0, 10, 0), (10, 0, 0))
    ]
    assert "| MedNIST | head CT | 50 (abdomen CT 50) |" in as_markdown(votes, NAMES)


def test_every_image_is_measured_at_every_level_and_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "mednist.zip"
    write_mednist_zip(archive, images_per_class=2)
    parser = argparse.ArgumentParser()
    shortcut.add_arguments(parser)
    out = tmp_path / "shortcut.json"
    options = ("--images", "6", "--levels", "0", "30", "--sigmas", "0.25", "--n", "4", "--prompts", "template")
    shortcut.run(parser.parse_args(("--data", str(archive), "--out", str(out), *options)))
    votes = json.loads(out.read_text())["votes"]
    assert len(votes) == 3 * (len(REAL_IMAGES) + 6)
    assert {vote["level"] for vote in votes} == {None, 0, 30}
    assert {sum(vote["counts"]) for vote in votes} == {4}
    assert out.with_suffix(".md").read_text().startswith("`template`, sigma 0.25")


@pytest.mark.parametrize("image", REAL_IMAGES, ids=lambda image: image.file)
def test_the_real_images_are_there_and_show_a_class_of_the_task(image: RealImage) -> None:
    task = shipped_tasks()["mednist"]
    assert image.truth in task.class_names
    assert image.seen(shipped_backbones()["demo"], task).pixels.std() > 0.1
