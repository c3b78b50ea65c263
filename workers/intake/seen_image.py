"""The model input as a PNG that a person can look at."""

import io

import numpy as np
from PIL import Image

from certrad.models.images.model_input import ModelInput


def encode_png(model_input: ModelInput) -> bytes:
    """Returns the model input as a PNG, rounded to 8 bits: an image to look at, not the certified numbers.

    Args:
        model_input: The model input.
    """
    levels = np.rint(model_input.pixels.transpose(1, 2, 0) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()
