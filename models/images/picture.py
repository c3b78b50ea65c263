"""Decoded pictures, and their way to the model input: one linear operator in float64, clipped, rounded once at the end.

Nothing between the decoded integers and the model input rounds to 8 bits or looks at the content of the picture: the
map is linear up to two clips, so a radius on the model input has a meaning on the picture (`image_scale`).
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import Rejected
from models.images.resize import AxisResize
from models.images.units import ImageScale, Unit
from models.types import Region
from models.types.cards import Fit

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
    unit, slope: the largest change of a value in [0, 1] per unit of the picture.
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
    unit: Unit
    slope: float

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.bits) < 1 or not 1 <= self.frame <= self.frames:
            raise ValueError("rows, columns and bits must be >= 1 and frame in [1, frames]")
        if not (self.slope >= 0 and math.isfinite(self.slope)):  # also refuses NaN
            raise ValueError(f"slope must be finite and >= 0, got {self.slope!r}")
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
    _check_region(region, rows=stored.shape[0], columns=stored.shape[1])
    return stored[region.y : region.y + region.h, region.x : region.x + region.w]


def _check_region(region: Region, *, rows: int, columns: int) -> None:
    if region.y + region.h > rows or region.x + region.w > columns:
        raise Rejected("region_out_of_range", f"the image has {rows} rows and {columns} columns")
    if min(region.h, region.w) < MIN_SIDE:
        raise Rejected("image_too_small", f"a region of at least {MIN_SIDE} x {MIN_SIDE} pixels is expected")


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


def model_input(picture: Picture, image_size: int, fit: Fit = "crop") -> ModelInput:
    """Resizes to a square of side `image_size`, clips to [0, 1] and makes three channels.

    fit: `crop` resizes the shorter side to `image_size` and crops the centre; `pad` puts the picture into the middle of
        a black square whose side is the longer one, and at least `image_size`, and resizes that.

    Sizes and crop are those of open_clip's preprocessing (longer side truncated, offset rounded half to even); the
    kernel is Pillow's antialiased bicubic. Every step but the last is float64, and sums run in a fixed order, so the
    same picture gives the same bytes on every machine.

    Raises Rejected image_too_small for a picture that would be padded into a line thinner than a pixel.
    """
    return fitted(picture.pixels, image_size, fit)


def fitted(pixels: NDArray[np.float64], image_size: int, fit: Fit = "crop") -> ModelInput:
    """As `model_input`, from the pixels (height, width, 1 or 3) of a picture whose file does not matter."""
    sides = pixels.shape[:2]
    resizes = _resizes(sides, image_size, fit)
    # The longer side first: it shrinks most, and a strip of 8 x 8,000,000 pixels must not grow before it is cropped.
    for axis in sorted((0, 1), key=lambda axis: -sides[axis]):
        pixels = resizes[axis].apply(pixels, axis)
    square = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    return ModelInput(pixels=np.ascontiguousarray(np.broadcast_to(square.transpose(2, 0, 1), (3, *square.shape[:2]))))


def image_scale(facts: ImageFacts, region: Region | None, image_size: int, fit: Fit = "crop") -> ImageScale:
    """How far a change of a picture of these facts can move its model input.

    region: what of it was taken. The norms are those of the executed operator: of its cropped rows, in float64.

    Raises Rejected region_out_of_range or image_too_small.

    rounding: the model inputs x, x' are float32 roundings of values in [0, 1], off by at most 2^-25 each; float64 sums
    of t_v and t_h terms, with weights of absolute sum at most 1.27 a row, are off by at most 1.27^2 (t_v + t_h + 2) u,
    u = 2^-53. So for d values, ||x' - x|| <= ||T(u') - T(u)|| + 2 sqrt(d) (2^-25 + (t_v + t_h + 2) 2^-52).
    """
    sides = facts.rows, facts.columns
    if region is not None:
        _check_region(region, rows=facts.rows, columns=facts.columns)
        sides = region.h, region.w
    vertical, horizontal = _resizes(sides, image_size, fit)
    each = 2.0**-25 + (vertical.taps + horizontal.taps + 2) * 2.0**-52
    return ImageScale(
        unit=facts.unit,
        slope=facts.slope,
        rows=len(vertical.samples),
        columns=len(horizontal.samples),
        channels=facts.channels,
        resize_vertical=vertical.norm(),
        resize_horizontal=horizontal.norm(),
        rounding=2 * math.sqrt(3 * image_size * image_size) * each,
        note=_note(facts),
    )


def _resizes(sides: tuple[int, ...], image_size: int, fit: Fit) -> tuple[AxisResize, AxisResize]:
    shorter, longer = min(sides), max(sides)
    if fit == "pad":
        if image_size * shorter < longer:  # also bounds the operator, which is as wide as the picture
            raise Rejected(
                "image_too_small",
                f"beside {longer} pixels at least {math.ceil(longer / image_size)} are expected, got {shorter}",
            )
        height, width = (AxisResize.padded(side, max(longer, image_size), image_size) for side in sides)
    else:
        height, width = (AxisResize.to_centre(side, image_size * side // shorter, image_size) for side in sides)
    return height, width


def _note(facts: ImageFacts) -> str:
    """What the picture's values are, and what of the file is not one of them."""
    match facts.unit:
        case "grey level":
            levels = f"grey levels 0 to {(1 << facts.bits) - 1} of the decoded picture"
            values = levels if facts.channels == 1 else f"{levels}, over red, green and blue together"
        case "HU":
            values = "Hounsfield units, which are the stored values after the rescale of the file"
        case "stored value":
            values = "stored values of the file, before any rescale or lookup table"
    sentences = [f"L2 over {values}."]
    if "palette" in facts.transforms:
        sentences.append("The colours are those the palette stands for, not its indices.")
    if facts.lossy:
        sentences.append("The file is compressed with loss: its decoded pixels are meant, not its bytes.")
    if facts.format == "dicom":
        sentences.append(
            "Window, rescale and all other header values are as in the file: changing them is not covered."
        )
    return " ".join(sentences)
