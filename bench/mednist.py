"""MedNIST as arrays: grey 64x64 images and labels, read from the zip they are distributed in.

The images are data of others (TCIA, RSNA Bone Age Challenge, NIH Chest X-ray; prepared by Dr. B. J. Erickson, Mayo
Clinic; CC BY-SA 4.0) and are never part of this repository.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

FOLDERS = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
CLASS_NAMES = ("abdomen CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT")
SIDE = 64

Split = Literal["train", "test"]


@dataclass(frozen=True)
class LabelledImages:
    """Grey images with the index of their class in `FOLDERS`, in the order of their names in the zip."""

    pixels: npt.NDArray[np.uint8]
    """Shape (n, 64, 64)."""
    labels: npt.NDArray[np.int64]
    """Shape (n,)."""

    def __len__(self) -> int:
        return len(self.labels)


def read_split(archive: Path, split: Split) -> LabelledImages:
    """Return every image of one split, sorted by name so that the order does not depend on how the zip was packed.

    Raises:
        ValueError: The zip holds no image of that split, or an image that is not grey 64x64.
    """
    with zipfile.ZipFile(archive) as bundle:
        names = sorted(name for name in bundle.namelist() if _belongs_to(name, split))
        if not names:
            raise ValueError(f"no mednist/{split}/<class>/*.jpeg in {archive}")
        pixels = np.stack([_decode(bundle.read(name), name) for name in names])
    labels = np.array([FOLDERS.index(PurePosixPath(name).parent.name) for name in names], dtype=np.int64)
    return LabelledImages(pixels, labels)


def _belongs_to(name: str, split: Split) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".jpeg" and path.parts[:-2] == ("mednist", split) and path.parent.name in FOLDERS


def _decode(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image, dtype=np.uint8)
    if pixels.shape != (SIDE, SIDE):
        raise ValueError(f"{name} has shape {pixels.shape}, not a grey {SIDE}x{SIDE} image")
    return pixels
