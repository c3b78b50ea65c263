"""Pictures of published data sets as the papers' code reads them: whatever Pillow opens, as 8-bit grey or RGB."""

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


def rgb(content: bytes) -> Pixels:
    """The first picture of a PNG, JPEG, TIFF, GIF, ...: grey stays grey, everything else becomes RGB.

    Alpha is dropped, CMYK converted without a profile, the orientation in the file not applied: as
    `Image.open(...).convert("RGB")` does, which is what CoOp, PLIP and both papers feed to the model.
    Raises Rejected unsupported_format, unreadable_image, image_too_large, or unsupported_pixels for more than 8 bits
    a sample.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.mode.startswith(_MORE_THAN_8_BITS):
                raise Rejected("unsupported_pixels", f"8 bits a sample are expected, got mode {picture.mode}")
            return in_unit(np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB")))
    except UnidentifiedImageError as error:
        raise Rejected("unsupported_format", "a picture that Pillow reads is expected") from error
    except Image.DecompressionBombError as error:
        raise Rejected("image_too_large", "more pixels than Pillow decodes") from error
    except (OSError, ValueError, SyntaxError) as error:  # what its decoders raise on damaged files
        raise Rejected("unreadable_image", "the file is truncated or corrupt") from error


def in_unit(levels: NDArray[np.uint8]) -> Pixels:
    """Grey levels (height, width) or (height, width, 3), 0..255, as pixels."""
    return (levels if levels.ndim == 3 else levels[..., None]).astype(np.float64) / WHITE
