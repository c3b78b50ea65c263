"""Archives of labelled images that tests make: a zip with a folder for each class."""

import io
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from tests.support.images import encoded

SIDE = 24


def zipped(entries: Sequence[tuple[str | zipfile.ZipInfo, bytes]] | Mapping[str, bytes]) -> bytes:
    """A zip of these entries, in their order; a name may come twice."""
    buffer = io.BytesIO()
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pairs:
            archive.writestr(name, content)
    return buffer.getvalue()


def textured(label: int, number: int, side: int = SIDE) -> bytes:
    """A PNG of a class that a model can tell from the others: a bright square on one of four places, with noise."""
    generator = np.random.default_rng([label, number])
    pixels = generator.integers(0, 60, (side, side), dtype=np.uint8)
    half = side // 2
    row, column = divmod(label % 4, 2)
    pixels[row * half : (row + 1) * half, column * half : (column + 1) * half] += 150
    return encoded(pixels, "png")


def classes(names: Sequence[str], count: int, side: int = SIDE) -> dict[str, bytes]:
    """`count` images of each class, by their path."""
    return {
        f"{name}/{number:03}.png": textured(label, number, side)
        for label, name in enumerate(names)
        for number in range(count)
    }
