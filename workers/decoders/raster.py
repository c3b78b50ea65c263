"""Decodes PNG, JPEG and TIFF into pixels in [0, 1]; rejects what it could only decode with loss or a guess.

- Grey of 1, 2, 4, 8, 12 (TIFF) and 16 bits, and RGB of 8 and 16 bits, are taken with all their bits.
- A palette becomes the RGB it stands for.
- Alpha, or a transparent colour, is dropped when every pixel is opaque; otherwise the image is refused, because what
  shows through it is not in the file.
- CMYK, Lab, YCbCr outside JPEG compression, float, signed and 32-bit pixels, 16-bit grey with alpha, 16-bit planes and
  16-bit images with a transparent colour are refused.
- The orientation the file states is applied, as viewers do. Colour profiles and gamma are not.
- A file of several images is refused.
"""

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, __version__

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage, check_size, crop, pixels_sha256
from certrad.models.types import Region
from certrad.models.types.image import ImageFacts
from certrad.models.types.window import FileWindow, RenderedWindow, shown_window
from certrad.workers.decoders import jpeg, png, tiff
from certrad.workers.decoders.codestream import read_codestream
from certrad.workers.decoders.decoder_messages import heed_messages
from certrad.workers.decoders.grayscale import apply, parameters, slope, transform_name
from certrad.workers.decoders.grey_values import unwindowed
from certrad.workers.decoders.rewindowing import rewindowed
from certrad.workers.decoders.windows import raster_window
from certrad.workers.decoders.zero_runs import check_zero_runs

RasterFormat = Literal["png", "jpeg", "tiff"]
_TileArgs = str | tuple[Any, ...] | None  # a decoder's arguments: the raw mode, or a tuple that begins with it
Integers = NDArray[np.integer[Any]]

_ORIENTATION_TAG: Final = 0x0112
_WHITE_IS_ZERO: Final = 0
_LOSSY_COMPRESSIONS: Final = {"jpeg", "tiff_jpeg", "webp"}
_PALETTES: Final = {"P", "PA"}
_WITH_ALPHA: Final = {"LA", "La", "PA", "RGBA", "RGBa"}
# Pillow keeps the upper byte of each 16-bit sample of RGB; told the other byte order, it keeps the lower one.
_LOWER_BYTE: Final = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


def decode(
    data: bytes,
    image_format: RasterFormat,
    *,
    max_pixels: int,
    region: Region | None = None,
    window: RenderedWindow = FileWindow(),  # noqa: B008  # frozen
    on_size: Callable[[int], None] | None = None,
) -> DecodedImage:
    """Decodes the one image of a file.

    Args:
        data: The file.
        image_format: Its format.
        max_pixels: Maximum number of pixels.
        region: The part of the image to keep; None for all of it.
        window: The window of a grey image, in its grey levels.
        on_size: Called with the number of pixels before one of them is decoded.

    Returns:
        The decoded image.

    Raises:
        Rejected: `unreadable_image`, `image_too_large`, `image_too_small`, `animated_image`, `unsupported_pixels`,
            `region_out_of_range` or `unknown_window`.
    """
    with _pillow(max_pixels):
        data, inverted = tiff.without_inversion(data) if image_format == "tiff" else (data, False)
        image = _open(data, image_format)
        check_size(rows=image.height, columns=image.width, max_pixels=max_pixels)
        if on_size is not None:
            on_size(image.height * image.width)
        if getattr(image, "n_frames", 1) > 1:
            raise Rejected("animated_image", "the file must hold one image, got several")
        rawmodes = {_rawmode(tile.args) for tile in image.tile}  # read now, because loading empties `tile`
        palette = image.mode in _PALETTES
        oriented = image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9)
        lossy = image_format == "jpeg" or image.info.get("compression") in _LOSSY_COMPRESSIONS
        stored, bits = heed_messages(partial(_samples, image, rawmodes, partial(_open, data, image_format)))
        _check_intact(data, image)
        if inverted:
            stored = np.subtract((1 << bits) - 1, stored, dtype=stored.dtype)
    cropped = crop(stored, region)
    chosen = raster_window(window, cropped, bits)
    to_unit = chosen.step
    return DecodedImage(
        pixels=apply(to_unit, cropped if cropped.ndim == 3 else cropped[..., None]),
        sha256=pixels_sha256(cropped, [parameters(to_unit)]),
        facts=ImageFacts(
            format=image_format,
            rows=stored.shape[0],
            columns=stored.shape[1],
            channels=3 if stored.ndim == 3 else 1,
            bits=bits,
            decoder=f"pillow {__version__}",
            lossy=lossy,
            transforms=(
                *(("palette",) if palette else ()),
                *(("orientation",) if oriented else ()),
                *(() if isinstance(shown_window(window)[0], FileWindow) else (transform_name(to_unit),)),
            ),
            unit="grey level",
            slope=slope([to_unit], stored.dtype),
            window=chosen.applied,
        ),
        unwindowed=unwindowed([to_unit], cropped),
        rewindow=rewindowed(cropped, (), ()) if chosen.may_move(bits) and cropped.ndim == 2 else None,
    )


@contextmanager
def _pillow(max_pixels: int) -> Iterator[None]:
    """Runs Pillow with warnings as errors and our limit on pixels; turns any error into Rejected, message dropped."""
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Rejected("image_too_large", f"the image must have at most {max_pixels} pixels") from error
    except Exception as error:  # decoders raise nearly anything on malformed files
        raise Rejected("unreadable_image", "the file is truncated or corrupt") from error
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit


def _open(data: bytes, image_format: RasterFormat) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=[image_format.upper()])


def _check_intact(data: bytes, image: ImageFile.ImageFile) -> None:
    """Checks for damage that Pillow does not report."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff.check_intact(data, image.tag_v2)
    elif image.format == "PNG":
        png.check_intact(data)
    else:
        stream = read_codestream(data)
        jpeg.check_intact(data, components=stream.components)
        check_zero_runs(data, stream)


def _samples(
    image: ImageFile.ImageFile, rawmodes: set[str], again: Callable[[], ImageFile.ImageFile]
) -> tuple[Integers, int]:
    """Returns integers (height, width) or (height, width, 3), and the bits of a sample.

    Args:
        image: The open file.
        rawmodes: How Pillow unpacks the samples of each tile.
        again: Opens the same file anew.
    """
    if image.mode in ("I;16", "I;16B"):
        return _grey_16(image, rawmodes)
    if any(";16" in rawmode for rawmode in rawmodes) or _tiff_bits(image) > 8:
        return _colour_16(image, again(), rawmodes)
    return _eight_bits(image), 8


def _grey_16(image: ImageFile.ImageFile, rawmodes: set[str]) -> tuple[Integers, int]:
    _refuse_transparent_colour(image)
    bits = 12 if rawmodes == {"I;12"} else 16
    stored = np.asarray(ImageOps.exif_transpose(image), dtype=np.uint16)
    if _tiff_tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == _WHITE_IS_ZERO:
        return np.subtract((1 << bits) - 1, stored, dtype=np.uint16), bits  # Pillow inverts 8 bits, but not 16
    return stored, bits


def _colour_16(upper: ImageFile.ImageFile, lower: ImageFile.ImageFile, rawmodes: set[str]) -> tuple[Integers, int]:
    _refuse_transparent_colour(upper)
    if not all(rawmode.split(";")[0] == upper.mode and rawmode[-3:] in _LOWER_BYTE for rawmode in rawmodes):
        raise _unsupported(upper.mode)
    lower.tile = [tile._replace(args=_of_lower_byte(tile.args)) for tile in lower.tile]
    bytes_of = (np.asarray(ImageOps.exif_transpose(image), dtype=np.uint16) for image in (upper, lower))
    stored = (next(bytes_of) << 8) | next(bytes_of)
    if stored.shape[2] == 4:
        _require_opaque(stored[..., 3], 65535)
    return stored[..., :3], 16


def _eight_bits(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        _require_opaque(np.asarray(upright.convert("RGBA").getchannel("A")), 255)
    match image.mode:
        case "1" | "L" | "LA" | "La":
            return np.asarray(upright.convert("L"))
        case "P" | "PA":
            _check_indices(image)
            return np.asarray(upright.convert("RGB"))
        case "RGB" | "RGBA" | "RGBa":
            return np.asarray(upright.convert("RGB"))
        case _:
            raise _unsupported(image.mode)


def _check_indices(image: ImageFile.ImageFile) -> None:
    """Rejects an index behind the end of the palette, which Pillow takes for black."""
    colours = len(image.palette.palette) // len(image.palette.mode) if image.palette else 0
    if int(np.asarray(image.getchannel(0)).max()) >= colours:
        raise Rejected("unreadable_image", f"a palette of {colours} colours has no colour for some pixels")


def _rawmode(args: _TileArgs) -> str:
    return str(args if isinstance(args, str) or args is None else args[0])


def _of_lower_byte(args: _TileArgs) -> _TileArgs:
    if isinstance(args, tuple):
        return _of_lower_byte(args[0]), *args[1:]
    return _rawmode(args)[:-3] + _LOWER_BYTE[_rawmode(args)[-3:]]


def _tiff_bits(image: ImageFile.ImageFile) -> int:
    return max(_tiff_tag(image, TiffImagePlugin.BITSPERSAMPLE, (8,))) if image.mode in ("RGB", "RGBA") else 8


def _tiff_tag(image: ImageFile.ImageFile, tag: int, default: Any) -> Any:  # noqa: ANN401  # tags have many types
    return image.tag_v2.get(tag, default) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def _refuse_transparent_colour(image: ImageFile.ImageFile) -> None:
    if "transparency" in image.info:
        raise Rejected("unsupported_pixels", "16-bit images with a transparent colour are not supported")


def _require_opaque(alpha: NDArray[np.integer[Any]], opaque: int) -> None:
    if int(alpha.min()) != opaque:
        raise Rejected("unsupported_pixels", "the image must be opaque, got transparent pixels")


def _unsupported(mode: str) -> Rejected:
    return Rejected("unsupported_pixels", f"pixels must be grey or RGB of 8 or 16 bits, got {mode}")
