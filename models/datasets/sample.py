"""Balanced samples and seeded splits: functions of names, labels and a seed that read no file."""

import random
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

SplitName = Literal["train", "val", "test"]
SPLIT_SEED: Final = 0
_TRAIN_SHARE: Final = 0.5
_VAL_SHARE: Final = 0.2


def balanced_sample(labels: NDArray[np.int64], n_classes: int, count: int, seed: int) -> list[int]:
    """Returns the indices of `count` random images, one of each class in turn; exhausted classes are skipped.

    A larger sample of the same images begins with the smaller one.

    Args:
        labels: (N,) class index of each image.
        n_classes: K.
        count: number of images to choose, 1..N.
        seed: seed of the random order.

    Raises:
        ValueError: if there are fewer than `count` images.
    """
    if not 0 < count <= len(labels):
        raise ValueError(f"count must be 1..{len(labels)}, the number of images; got {count}")
    generator = np.random.default_rng(seed)
    shuffled = [generator.permutation(np.flatnonzero(labels == label)) for label in range(n_classes)]
    turns = (part[turn] for turn in range(max(map(len, shuffled))) for part in shuffled if turn < len(part))
    return [int(index) for index, _ in zip(turns, range(count), strict=False)]


def coop_split(names: Sequence[str], split: SplitName) -> list[str]:
    """Returns the images of one class in this split: 50% training, 20% validation, 30% test, as CoOp cuts them.

    CoOp shuffles with the random generator in whatever state it is; this uses a fixed seed and sorted names.
    """
    shuffled = _shuffled(names)
    train = round(len(names) * _TRAIN_SHARE)
    val = train + round(len(names) * _VAL_SHARE)
    return {"train": shuffled[:train], "val": shuffled[train:val], "test": shuffled[val:]}[split]


def train_or_val_split(names: Sequence[str], split: SplitName) -> list[str]:
    """Returns the images of one class in this split, given none of the test split: 80% training, 20% validation."""
    shuffled = _shuffled(names)
    val = round(len(names) * _VAL_SHARE)
    return shuffled[:val] if split == "val" else shuffled[val:]


def _shuffled(names: Sequence[str]) -> list[str]:
    shuffled = sorted(names)
    random.Random(SPLIT_SEED).shuffle(shuffled)
    return shuffled
