"""A zip in the layout of MedNIST with random images."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from certrad.bench.common.mednist import SIDE
from certrad.models.shipped import shipped_datasets


def write_mednist_zip(path: Path, images_per_class: int) -> None:
    """Write train and test images, each class brighter than the one before."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as bundle:
        for split in ("train", "test"):
            for label, folder in enumerate(shipped_datasets()["mednist"].raw_labels):
                for index in range(images_per_class):
                    pixels = generator.integers(40 * label, 40 * label + 40, (SIDE, SIDE)).astype(np.uint8)
                    content = io.BytesIO()
                    Image.fromarray(pixels).save(content, "JPEG", quality=95)
                    bundle.writestr(f"mednist/{split}/{folder}/{index:04}.jpeg", content.getvalue())
