"""Decoded pictures, and their way to the model input: one linear operator in float64, clipped, rounded once at the end.

Nothing between the decoded integers and the model input rounds to 8 bits or looks at the content of the picture: the
map is linear up to two clips, so a radius on the model input has a meaning on the picture (Lipschitz constant: the norm
of `resize_matrix` per axis).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import Rejected
from models.types import Region

PictureFormat = Literal["png", "jpeg", "tiff", "dicom"]
Transform = Literal[
    "orientation",
    "palette",
    "modality_lut",
    "rescale",
    "voi_lut",
    "window_linear",
    "window_linear_exact",
    "window_sigmoid",
    "full_range",
    "invert",
]

_Integer = TypeVar("_Integer", bound=np.integer[Any])

MIN_SIDE: Final = 8
_CUBIC_A: Final = -0.5
_CUBIC_SUPPORT: Final = 2.0
_DIGEST_LAW: Final = "certrad-pixels-1"
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .,:()_/-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is told of a picture: never a value of its header that could name a patient, a place or a time.

    rows, columns, channels: of the whole decoded picture or frame, before `region`.
    bits: bits stored for one sample.
    frames, frame: number of frames in the file and the one taken, from 1.
    transfer_syntax: keyword of the DICOM transfer syntax. decoder: name and version of what decoded the pixels.
    lossy: the pixels went through lossy compression, as the encoding shows or the file says.
    transforms: what led from the stored values to [0, 1], in order.
    """

    format: PictureFormat
    rows: int
    columns: int
    channels: Literal[1, 3]
    bits: int
    frames: int = 1
    frame: int = 1
    transfer_syntax: str | None = None
    decoder: str
    lossy: bool
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.bits) < 1 or not 1 <= self.frame <= self.frames:
            raise ValueError("rows, columns and bits must be >= 1 and frame in [1, frames]")
        for text in (self.decoder, self.transfer_syntax):
            if text is not None and not _PLAIN.fullmatch(text):
                raise ValueError("decoder and transfer_syntax must be plain short names")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One decoded picture.

    pixels: float64 (height, width, channels), channels 1 or 3, in [0, 1]; after `region`.
    sha256: `pixels_sha256` of the stored values the pixels came from.
    """

    pixels: NDArray[np.float64]
    sha256: str
    facts: ImageFacts

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.float64 or len(shape) != 3 or shape[2] not in (1, 3):
            raise ValueError(f"pixels must be float64 (height, width, 1 or 3), got {self.pixels.dtype} {shape}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInput:
    """What a backbone sees and noise is added to: float32 (3, S, S) in [0, 1], read-only, and the SHA-256 of its bytes.

    Raises ValueError unless `pixels` is that.
    """

    pixels: NDArray[np.float32]

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.float32 or pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.shape[1] != pixels.shape[2]:
            raise ValueError(f"a model input must be float32 (3, S, S), got {pixels.dtype} {pixels.shape}")
        if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # also refuses NaN
            raise ValueError("a model input must be in [0, 1]")
        pixels.setflags(write=False)

    @staticmethod
    def size_in_bytes(image_size: int) -> int:
        """The length of `tobytes` for a side of `image_size` pixels."""
        return 3 * image_size * image_size * np.dtype(np.float32).itemsize

    @classmethod
    def from_bytes(cls, data: bytes, image_size: int) -> "ModelInput":
        """The inverse of `tobytes`; raises ValueError when these are not the bytes of a model input of this size."""
        if len(data) != cls.size_in_bytes(image_size):
            raise ValueError(f"expected {cls.size_in_bytes(image_size)} bytes, got {len(data)}")
        return cls(pixels=np.frombuffer(data, dtype="<f4").reshape(3, image_size, image_size))

    def tobytes(self) -> bytes:
        """The pixels in C order, little-endian."""
        return self.pixels.astype("<f4").tobytes()

    @property
    def sha256(self) -> str:
        """SHA-256 of `tobytes`, hexadecimal."""
        return hashlib.sha256(self.tobytes()).hexdigest()


def check_size(*, rows: int, columns: int, max_pixels: int) -> None:
    """Raises Rejected image_too_large or image_too_small; asked before anything of that size is allocated."""
    if rows * columns > max_pixels:
        raise Rejected("image_too_large", f"at most {max_pixels} pixels are decoded, got {rows} x {columns}")
    if min(rows, columns) < MIN_SIDE:
        raise Rejected("image_too_small", f"sides of at least {MIN_SIDE} pixels are expected, got {rows} x {columns}")


def crop(stored: NDArray[_Integer], region: Region | None) -> NDArray[_Integer]:
    """The region of (height, width, ...); raises Rejected region_out_of_range or image_too_small."""
    if region is None:
        return stored
    rows, columns = stored.shape[:2]
    if region.y + region.h > rows or region.x + region.w > columns:
        raise Rejected("region_out_of_range", f"the image has {rows} rows and {columns} columns")
    if min(region.h, region.w) < MIN_SIDE:
        raise Rejected("image_too_small", f"a region of at least {MIN_SIDE} x {MIN_SIDE} pixels is expected")
    return stored[region.y : region.y + region.h, region.x : region.x + region.w]


def pixels_sha256(stored: NDArray[np.integer[Any]], rendering: Sequence[Mapping[str, Any]]) -> str:
    """The identity of a picture: equal digests imply equal pixels in [0, 1], whatever file they came in.

    stored: decoded integers (height, width) or (height, width, 3): after orientation, palette and `region`, before
        any modality or window transform.
    rendering: the map from them to [0, 1], step by step with every parameter, as JSON.

    SHA-256 of the canonical JSON (sorted keys, no spaces, ASCII) of `{"dtype", "law", "rendering", "shape"}`, a
    newline, and the integers in C order, little-endian.
    """
    values = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<"))
    header = {"law": _DIGEST_LAW, "dtype": values.dtype.str, "shape": values.shape, "rendering": rendering}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    digest.update(b"\n")
    digest.update(values.data)
    return digest.hexdigest()


def model_input(picture: Picture, image_size: int) -> ModelInput:
    """Resizes the shorter side to `image_size`, crops the centre, clips to [0, 1] and makes three channels.

    Sizes and crop are those of open_clip's preprocessing (longer side truncated, offset rounded half to even); the
    kernel is Pillow's antialiased bicubic. Every step but the last is float64, and sums run in a fixed order, so the
    same picture gives the same bytes on every machine.
    """
    pixels = picture.pixels
    sides = pixels.shape[:2]
    # The longer side first: it shrinks most, and a strip of 8 x 8,000,000 pixels must not grow before it is cropped.
    for axis in sorted((0, 1), key=lambda axis: -sides[axis]):
        pixels = _resize_centre(pixels, axis, image_size * sides[axis] // min(sides), image_size)
    square = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    return ModelInput(pixels=np.ascontiguousarray(np.broadcast_to(square.transpose(2, 0, 1), (3, *square.shape[:2]))))


def resize_matrix(n: int, m: int) -> NDArray[np.float64]:
    """The (m, n) matrix of Pillow's antialiased bicubic resize of n samples to m; its rows sum to 1.

    A picture X is resized to A_v X A_h^T, so its L2 Lipschitz constant is the product of the two spectral norms.
    """
    first, weights = _taps(n, m, range(m))
    matrix = np.zeros((m, n))
    columns = np.minimum(first[:, None] + np.arange(weights.shape[1]), n - 1)
    np.add.at(matrix, (np.arange(m)[:, None], columns), weights)
    return matrix


def _resize_centre(pixels: NDArray[np.float64], axis: int, m: int, size: int) -> NDArray[np.float64]:
    """The central `size` of m samples along an axis; only those are computed."""
    n = pixels.shape[axis]
    offset = round((m - size) / 2)
    first, weights = _taps(n, m, range(offset, offset + size))
    shape = [1] * pixels.ndim
    shape[axis] = size
    resized = np.zeros((*pixels.shape[:axis], size, *pixels.shape[axis + 1 :]))
    for tap in range(weights.shape[1]):
        source = np.minimum(first + tap, n - 1)
        resized += weights[:, tap].reshape(shape) * pixels.take(source, axis)
    return resized


def _taps(n: int, m: int, rows: range) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For some rows of the operator: the first sample of each one's support, and its weights, zero behind its end.

    The formulas are those of Pillow's `precompute_coeffs` (src/libImaging/Resample.c), there in float64 as well.
    """
    scale = n / m
    stretch = max(scale, 1.0)
    support = _CUBIC_SUPPORT * stretch
    centre = (np.arange(rows.start, rows.stop) + 0.5) * scale
    first = np.maximum(np.trunc(centre - support + 0.5), 0).astype(np.int64)
    last = np.minimum(np.trunc(centre + support + 0.5), n).astype(np.int64)
    taps = np.arange((last - first).max())
    weights = _cubic((taps + first[:, None] - centre[:, None] + 0.5) / stretch)
    weights[taps >= (last - first)[:, None]] = 0.0
    return first, weights / weights.cumsum(axis=1)[:, -1:]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981, eq. 4) with a = -1/2, as Pillow evaluates it."""
    x = np.abs(x)
    a = _CUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
