"""Decoded images, and their way to the model input: one linear operator in float64, clipped, rounded once at the end.

Nothing between the decoded integers and the model input rounds to 8 bits or looks at the content of the image: the
map is linear up to two clips, so a radius on the model input has a meaning on the image (`image_scale`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from certrad.models.errors import Rejected
from certrad.models.types import Region
from certrad.models.types.image import ImageFacts
from certrad.models.types.window_lattice import WindowFunction

_Integer = TypeVar("_Integer", bound=np.integer[Any])

Rewindow = Callable[[WindowFunction, float, float], NDArray[np.float64]]
"""Function, centre and width of a window -> the pixels of the same image in it."""

MIN_SIDE: Final = 8
_DIGEST_LAW: Final = "certrad-pixels-1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unwindowed:
    """The values of a grey image before its window.

    Attributes:
        values: Computes them, float64 or integers, (height, width); after `region`.
        function: The function of the window.
        inverted: Whether the lowest value is white.
    """

    values: Callable[[], NDArray[Any]]
    function: WindowFunction
    inverted: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedImage:
    """One decoded image.

    Attributes:
        pixels: float64 (height, width, channels), channels 1 or 3, in [0, 1]; after `region`.
        sha256: `pixels_sha256` of the stored values the pixels came from.
        facts: The facts of the image.
        offered: VOI tables and windows that the header offers.
        unwindowed: The values before the window; None where the image has none.
        rewindow: Shows the same values in another window; None where the image has no window to move: in colour, with
            a lookup table or percentiles, or over the full range of a file that is none of 8 grey bits.
    """

    pixels: NDArray[np.float64]
    sha256: str
    facts: ImageFacts
    offered: int = 0
    unwindowed: Unwindowed | None = None
    rewindow: Rewindow | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.float64 or len(shape) != 3 or shape[2] not in (1, 3):
            raise ValueError(f"pixels must be float64 (height, width, 1 or 3), got {self.pixels.dtype} {shape}")


def check_size(*, rows: int, columns: int, max_pixels: int) -> None:
    """Checks the size of an image, before anything of that size is allocated.

    Args:
        rows: Rows of the image.
        columns: Columns of the image.
        max_pixels: Maximum number of pixels.

    Raises:
        Rejected: `image_too_large` or `image_too_small`.
    """
    if rows * columns > max_pixels:
        raise Rejected("image_too_large", f"the image must have at most {max_pixels} pixels, got {rows} x {columns}")
    if min(rows, columns) < MIN_SIDE:
        raise Rejected("image_too_small", f"sides must have at least {MIN_SIDE} pixels, got {rows} x {columns}")


def crop(stored: NDArray[_Integer], region: Region | None) -> NDArray[_Integer]:
    """Returns a region of an image.

    Args:
        stored: (height, width, ...).
        region: The region; None for the whole image.

    Raises:
        Rejected: `region_out_of_range` or `image_too_small`.
    """
    if region is None:
        return stored
    _check_region(region, rows=stored.shape[0], columns=stored.shape[1])
    return stored[region.y : region.y + region.h, region.x : region.x + region.w]


def _check_region(region: Region, *, rows: int, columns: int) -> None:
    if region.y + region.h > rows or region.x + region.w > columns:
        raise Rejected(
            "region_out_of_range", f"the region must lie within the {rows} rows and {columns} columns of the image"
        )
    if min(region.h, region.w) < MIN_SIDE:
        raise Rejected("image_too_small", f"the region must have at least {MIN_SIDE} x {MIN_SIDE} pixels")


def pixels_sha256(stored: NDArray[np.integer[Any]], rendering: Sequence[Mapping[str, Any]]) -> str:
    """Returns the identity of an image: equal digests imply equal pixels in [0, 1], whatever the file.

    SHA-256 of the canonical JSON (sorted keys, no spaces, ASCII) of `{"dtype", "law", "rendering", "shape"}`, a
    newline, and the integers in C order, little-endian.
    """
    values = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<"))
    header = {"law": _DIGEST_LAW, "dtype": values.dtype.str, "shape": values.shape, "rendering": rendering}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    digest.update(b"\n")
    digest.update(values.data)
    return digest.hexdigest()
