"""The model input: resized, clipped, three channels; and how far a change of the image can move it."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage, _check_region
from certrad.models.images.grey_values import GreyValues
from certrad.models.images.rendered_image import RenderedImage
from certrad.models.images.resize import AxisResize
from certrad.models.images.units import rendered_rounding
from certrad.models.types import Region
from certrad.models.types.applied_window import WindowOfRequest, WindowOfTask
from certrad.models.types.cards import Fit
from certrad.models.types.image import ImageFacts, ImageScale
from certrad.models.types.noise_space import ImageMap

_LOW_CONTRAST: Final = 0.1
_ROUNDING: Final = 1e-9  # of a sum of weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInput:
    """The input of a backbone, to which noise is added unless it is added to the rendered image.

    Attributes:
        pixels: float32 (3, S, S) in [0, 1], read-only; anything else raises ValueError.
        rendered: The rendered image that it is made of, where noise is to be added to that.
        variants: The model inputs of other renderings of the same file, in the order in which they were asked for.
        grey: The values before the window, where noise is to be added to that.
    """

    pixels: NDArray[np.float32]
    rendered: RenderedImage | None = None
    variants: tuple["ModelInput", ...] = ()
    grey: GreyValues | None = None

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.float32 or pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.shape[1] != pixels.shape[2]:
            raise ValueError(f"a model input must be float32 (3, S, S), got {pixels.dtype} {pixels.shape}")
        if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # also refuses NaN
            raise ValueError("a model input must be in [0, 1]")
        pixels.setflags(write=False)

    @staticmethod
    def size_in_bytes(image_size: int) -> int:
        """Returns the length of `tobytes` for a side of `image_size` pixels."""
        return 3 * image_size * image_size * np.dtype(np.float32).itemsize

    @classmethod
    def from_bytes(cls, data: bytes, image_size: int) -> "ModelInput":
        """Returns the model input whose `tobytes` are these.

        Args:
            data: The bytes.
            image_size: Side of the model input in pixels.

        Raises:
            ValueError: The bytes are not those of a model input of this size.
        """
        if len(data) != cls.size_in_bytes(image_size):
            raise ValueError(f"a model input must have {cls.size_in_bytes(image_size)} bytes, got {len(data)}")
        return cls(pixels=np.frombuffer(data, dtype="<f4").reshape(3, image_size, image_size))

    def tobytes(self) -> bytes:
        """Returns the pixels in C order, little-endian."""
        return self.pixels.astype("<f4").tobytes()

    @property
    def sha256(self) -> str:
        """Returns the SHA-256 of `tobytes`, hexadecimal."""
        return hashlib.sha256(self.tobytes()).hexdigest()

    @property
    def noisy(self) -> NDArray[Any]:
        """Returns what noise is added to, (channels, rows, columns) in [0, 1]."""
        return self.pixels if self.rendered is None else self.rendered.pixels


def rendered_image(image: DecodedImage, image_size: int, fit: Fit = "crop") -> RenderedImage:
    """Returns the pixels of an image that its model input is made of.

    Args:
        image: The decoded image.
        image_size: See `model_input`.
        fit: See `model_input`.

    Raises:
        Rejected: See `model_input`.
    """
    return rendered_part(image.pixels, image_size, fit)


def rendered_part(pixels: NDArray[np.float64], image_size: int, fit: Fit = "crop") -> RenderedImage:
    """Returns the pixels that the model input is made of, of an image whose file does not matter.

    Args:
        pixels: (height, width, 1 or 3) in [0, 1].
        image_size: See `model_input`.
        fit: See `model_input`.

    Raises:
        Rejected: See `model_input`.
    """
    rows, columns = (resize.samples for resize in axis_resizes(pixels.shape[:2], image_size, fit))
    read = pixels[rows.start : rows.stop, columns.start : columns.stop]
    return RenderedImage(pixels=np.ascontiguousarray(read.transpose(2, 0, 1)))


def model_input(image: DecodedImage, image_size: int, fit: Fit = "crop") -> ModelInput:
    """Resizes to a square of side `image_size`, clips to [0, 1] and makes three channels.

    Sizes and crop are those of open_clip's preprocessing (longer side truncated, offset rounded half to even); the
    kernel is Pillow's antialiased bicubic. Every step but the last is float64, and sums run in a fixed order, so the
    same image gives the same bytes on every machine.

    Args:
        image: The decoded image.
        image_size: Side of the model input in pixels.
        fit: `crop` resizes the shorter side to `image_size` and crops the centre; `pad` puts the image into the middle
            of a black square whose side is the longer one, and at least `image_size`, and resizes that.

    Returns:
        The model input.

    Raises:
        Rejected: `image_too_small`, the image would be padded into a line thinner than a pixel.
    """
    return fitted(image.pixels, image_size, fit)


def fitted(pixels: NDArray[np.float64], image_size: int, fit: Fit = "crop") -> ModelInput:
    """Returns the model input of an image whose file does not matter; see `model_input`.

    Args:
        pixels: (height, width, 1 or 3) in [0, 1].
        image_size: See `model_input`.
        fit: See `model_input`.
    """
    sides = pixels.shape[:2]
    resizes = axis_resizes(sides, image_size, fit)
    # The longer side first: it shrinks most, and a strip of 8 x 8,000,000 pixels must not grow before it is cropped.
    for axis in sorted((0, 1), key=lambda axis: -sides[axis]):
        pixels = resizes[axis].apply(pixels, axis)
    square = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    return ModelInput(pixels=np.ascontiguousarray(np.broadcast_to(square.transpose(2, 0, 1), (3, *square.shape[:2]))))


def is_flat(seen: ModelInput, sides: tuple[int, int], fit: Fit = "crop") -> bool:
    """Returns whether the image is nearly one grey or colour: 99th minus 1st percentile of every channel below 0.1.

    The percentiles are those of the image's part of the model input: black that was padded would hide how flat it is.

    Args:
        seen: The model input.
        sides: Rows and columns of the image that it was made of.
        fit: See `model_input`.
    """
    rows, columns = (_of_image(resize) for resize in axis_resizes(sides, seen.pixels.shape[1], fit))
    low, high = np.percentile(seen.pixels[:, rows][:, :, columns], (1, 99), axis=(1, 2))
    return bool((high - low < _LOW_CONTRAST).all())


def image_scale(facts: ImageFacts, region: Region | None, image_size: int, fit: Fit = "crop") -> ImageScale:
    """Returns how far a change of an image with these facts can move its model input.

    The norms are those of the executed operator: of its cropped rows, in float64.

    For `rounding`: the model inputs x, x' are float32 roundings of values in [0, 1], off by at most 2^-25 each; float64
    sums of t_v and t_h terms, with weights of absolute sum at most 1.27 a row, are off by at most 1.27^2 (t_v + t_h +
    2) u, u = 2^-53. So for d values, ||x' - x|| <= ||T(u') - T(u)|| + 2 sqrt(d) (2^-25 + (t_v + t_h + 2) 2^-52).

    Args:
        facts: The facts of the image.
        region: The region of the image that is taken; None for all of it.
        image_size: See `model_input`.
        fit: See `model_input`.

    Raises:
        Rejected: `region_out_of_range` or `image_too_small`.
    """
    sides = facts.rows, facts.columns
    if region is not None:
        _check_region(region, rows=facts.rows, columns=facts.columns)
        sides = region.h, region.w
    vertical, horizontal = axis_resizes(sides, image_size, fit)
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
        depends_on_pixels=facts.depends_on_pixels,
    )


def direct_scale(scale: ImageScale) -> ImageScale:
    """Returns the scale of an image to which noise is added directly: no resize and no copy of channels lies between.

    Args:
        scale: The scale of the same image with its model input.
    """
    d = scale.rows * scale.columns * scale.channels
    return replace(scale, resize_vertical=1.0, resize_horizontal=1.0, rounding=rendered_rounding(d), direct=True)


def _of_image(resize: AxisResize) -> NDArray[np.bool_]:
    """Returns which samples show the image alone; of one thinner than the kernel, those that show most of it."""
    padded: NDArray[np.float64] = np.abs(resize.weights.sum(axis=1) - 1.0)
    shown: NDArray[np.bool_] = padded <= padded.min() + _ROUNDING
    return shown


def image_map(sides: tuple[int, int], channels: Literal[1, 3], image_size: int, fit: Fit = "crop") -> ImageMap:
    """Returns how images of one shape become model inputs.

    Args:
        sides: Rows and columns of the images, after `region`.
        channels: Their channels.
        image_size: See `model_input`.
        fit: See `model_input`.

    Raises:
        Rejected: See `model_input`.
    """
    rows, columns = (len(resize.samples) for resize in axis_resizes(sides, image_size, fit))
    return ImageMap(rows=rows, columns=columns, channels=channels, of_rows=sides[0], of_columns=sides[1], fit=fit)


def axis_resizes(sides: tuple[int, ...], image_size: int, fit: Fit) -> tuple[AxisResize, AxisResize]:
    """Returns how the vertical and the horizontal axis of an image become those of its model input.

    Args:
        sides: Rows and columns of the image.
        image_size: See `model_input`.
        fit: See `model_input`.

    Raises:
        Rejected: See `model_input`.
    """
    shorter, longer = min(sides), max(sides)
    if fit == "pad":
        if image_size * shorter < longer:  # also bounds the operator, which is as wide as the image
            raise Rejected(
                "image_too_small",
                f"the shorter side must have at least {math.ceil(longer / image_size)} pixels, got {shorter}",
            )
        height, width = (AxisResize.padded(side, max(longer, image_size), image_size) for side in sides)
    else:
        height, width = (AxisResize.to_centre(side, image_size * side // shorter, image_size) for side in sides)
    return height, width


def _note(facts: ImageFacts) -> str:
    """Returns in words what the image's values are, and which parts of the file are not among them."""
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
    match facts.window:
        case WindowOfRequest() | WindowOfTask():
            origin = "The window is that of the request or its task, and all header values are as in the file"
            sentences.append(f"{origin}: changing them is not covered.")
        case _ if facts.format == "dicom":
            sentences.append(
                "Window, rescale and all other header values are as in the file: changing them is not covered."
            )
    return " ".join(sentences)
