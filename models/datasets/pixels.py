"""Images of published data sets, read as the papers' code reads them: whatever Pillow opens, as 8-bit grey or RGB."""

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from certrad.models.errors import Rejected
from certrad.models.types.pixels import WHITE

Pixels = NDArray[np.float64]
"""(height, width, 1 or 3) in [0, 1]."""
Decoder = Callable[[bytes], Pixels]
"""From the bytes of a file to pixels; raises Rejected."""

_MORE_THAN_8_BITS: Final = ("I", "F")  # and "I;16": Pillow would clip them, not scale them


def decode_with_pillow(content: bytes) -> Pixels:
    """Returns the first image of a PNG, JPEG, TIFF, GIF or other file: grey stays grey, everything else becomes RGB.

    Alpha is dropped, CMYK is converted without a profile, and the orientation in the file is not applied: as
    `Image.open(...).convert("RGB")` does, which CoOp, PLIP and both papers feed to the model.

    Raises:
        Rejected: unsupported_format, unreadable_image, image_too_large, or unsupported_pixels for more than 8 bits per
            sample.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith(_MORE_THAN_8_BITS):
                raise Rejected(
                    "unsupported_pixels", f"an image must have 8 bits per sample; got the Pillow mode {image.mode}"
                )
            return scale_to_unit(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))
    except UnidentifiedImageError as error:
        raise Rejected("unsupported_format", "Pillow does not recognise the format of this file") from error
    except Image.DecompressionBombError as error:
        raise Rejected("image_too_large", "the image has more pixels than Pillow decodes") from error
    except (OSError, ValueError, SyntaxError) as error:  # what its decoders raise on damaged files
        raise Rejected("unreadable_image", "the file is truncated or corrupt") from error


def scale_to_unit(levels: NDArray[np.uint8]) -> Pixels:
    """Returns grey levels 0..255, (height, width) or (height, width, 3), as pixels in [0, 1]."""
    return (levels if levels.ndim == 3 else levels[..., None]).astype(np.float64) / WHITE
