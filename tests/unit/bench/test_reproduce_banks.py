"""Embedding banks of `python -m certrad.bench reproduce` are kept under weights, pixels and attack alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.bench.reproduce.run import learned
from certrad.bench.reproduce.run.learned import embeddings
from certrad.bench.reproduce.run.materials import Materials, inputs
from certrad.models.attacks.pgd import PgdParams
from certrad.models.backbones.base import Backbone
from certrad.models.datasets.listing import Item
from certrad.models.datasets.pixels import decode_with_pillow
from certrad.models.datasets.split import Split
from certrad.models.prompts.training.embedding_bank import embedding_bank_rows
from tests.support.tiny_clip import tiny_backbone

ATTACK = PgdParams(steps=1)
N = 10


def split_of(pixels: NDArray[np.uint8], dataset: str = "a") -> Split:
    """Images under the names that the data set has for them."""
    return Split(
        class_names=("dark", "bright"),
        template=None,
        items=tuple(Item(name=f"{dataset}/{index}", label=index % 2) for index in range(len(pixels))),
        rule="published",
        _read=lambda name: pixels[int(name.split("/")[1])],
        _decode=decode_with_pillow,
    )


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    return Materials(data=tmp_path, backbones=tmp_path, out=tmp_path)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches whose rows were made rather than read back; four images are read together."""
    sizes: list[int] = []
    rows = learned._rows

    def counting(backbone: Backbone, images: torch.Tensor, attack: Any) -> torch.Tensor:
        sizes.append(len(images))
        return rows(backbone, images, attack)

    monkeypatch.setattr(learned, "_rows", counting)
    monkeypatch.setattr(learned, "READ_TOGETHER", 4)
    return sizes


def test_bank_that_is_kept_is_read_back_with_its_seconds(
    materials: Materials, backbone: Backbone, pixels: NDArray[np.uint8], made: list[int]
) -> None:
    first, seconds = embeddings(materials, backbone, split_of(pixels), range(N), ATTACK)
    again, known = embeddings(materials, backbone, split_of(pixels, "b"), range(N), ATTACK)
    assert made == [4, 4, 2]
    assert torch.equal(again, first)
    assert known == seconds


def test_pixels_that_changed_under_their_name_are_attacked_again(
    materials: Materials, backbone: Backbone, pixels: NDArray[np.uint8], made: list[int]
) -> None:
    embeddings(materials, backbone, split_of(pixels), range(N), ATTACK)
    made.clear()
    pixels[5, 0, 0, 0] ^= 1
    embeddings(materials, backbone, split_of(pixels), range(N), ATTACK)
    assert made == [4]


def test_other_attack_or_none_has_a_bank_of_its_own(
    materials: Materials, backbone: Backbone, pixels: NDArray[np.uint8], made: list[int]
) -> None:
    attacks = [ATTACK, replace(ATTACK, epsilon=4 / 255), replace(ATTACK, seed=1), None]
    banks = [embeddings(materials, backbone, split_of(pixels), range(4), attack)[0] for attack in attacks]
    assert made == [4] * len(attacks)
    assert len({bank.numpy().tobytes() for bank in banks}) == len(attacks)


def test_batches_of_a_bank_are_attacked_with_a_seed_each(
    materials: Materials, backbone: Backbone, pixels: NDArray[np.uint8], made: list[int]
) -> None:
    split = split_of(pixels)
    bank, _ = embeddings(materials, backbone, split, range(N), ATTACK)
    second = inputs(split, range(4, 8), backbone.card)
    rows = embedding_bank_rows(backbone, second, replace(ATTACK, seed=ATTACK.seed + 4), 0)
    assert torch.equal(bank[4:8], rows)
