"""MedNIST as arrays: grey 64x64 images and labels, read from the zip they are distributed in.

The images are data of others (TCIA, RSNA Bone Age Challenge, NIH Chest X-ray; prepared by Dr. B. J. Erickson, Mayo
Clinic; CC BY-SA 4.0) and are never part of this repository.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from certrad.models.datasets import sample
from certrad.models.datasets.pixels import Pixels
from certrad.models.datasets.split import load_split
from certrad.models.shipped import shipped_datasets
from certrad.models.types.pixels import WHITE

SIDE: Final = 64

Split = Literal["train", "test"]


@dataclass(frozen=True)
class LabelledImages:
    """Grey images with the index of their class in the task, in the order of their names in the zip."""

    pixels: npt.NDArray[np.uint8]
    """Shape (n, 64, 64)."""
    labels: npt.NDArray[np.int64]
    """Shape (n,)."""

    def __len__(self) -> int:
        return len(self.labels)


def read_split(archive: Path, split: Split) -> LabelledImages:
    """Returns every image of one split, sorted by name so that the order does not depend on how the zip was packed.

    Raises:
        Rejected: The zip holds no image of that split.
        ValueError: An image is not grey 64x64.
    """
    images = load_split(shipped_datasets()["mednist"], archive, split)
    pixels = np.stack([_grey(images.image(index), index) for index in range(len(images))])
    return LabelledImages(pixels, images.labels)


def _grey(pixels: Pixels, index: int) -> npt.NDArray[np.uint8]:
    if pixels.shape != (SIDE, SIDE, 1):
        raise ValueError(f"image {index} has shape {pixels.shape}, not grey {SIDE}x{SIDE}")
    return np.rint(pixels[..., 0] * WHITE).astype(np.uint8)


TASK: Final = "mednist"


def equal_sample(labels: npt.NDArray[np.int64], n_classes: int, images: int, seed: int) -> list[int]:
    """Return the indices of as many random images of each class, at least `images` in all, one of each class in turn.

    Raises ValueError where a class has too few images.
    """
    of_each = -(-images // n_classes)
    counts = np.bincount(labels, minlength=n_classes)
    if counts.min() < of_each:
        raise ValueError(f"{of_each} images of each class are required, got {counts.tolist()}")
    return sample.balanced_sample(labels, n_classes, n_classes * of_each, seed)
