"""Encodes model inputs as images to look at."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Returns a model input as a PNG, rounded to 8 bits: an image to look at, not the certified numbers.

    Args:
        pixels: (3, height, width) in [0, 1].
    """
    levels = np.rint(pixels.transpose(1, 2, 0) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()
