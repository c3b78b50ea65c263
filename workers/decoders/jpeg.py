"""Lossy 8-bit JPEG: checks that a stream is whole, and decodes it in a DICOM file."""

import io
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import convert_color_space

from certrad.models.errors import Rejected
from certrad.workers.decoders.codestream import Codestream

_RGB_IDENTIFIERS: Final = (b"RGB", b"rgb")
_COARSEST: Final = 8  # the inverse transform is then cheap, while every coded bit is still read


def check_intact(data: bytes, *, components: int) -> None:
    """Checks that a JPEG stream decodes without a warning of libjpeg, which Pillow does not pass on.

    Args:
        data: The stream.
        components: Number of its components.

    Raises:
        Rejected: `unreadable_image`, bytes are missing, left over, or not a code of the stream's tables.
    """
    try:
        simplejpeg.decode_jpeg(
            data,
            colorspace="GRAY" if components == 1 else "RGB",
            min_height=1,
            min_width=1,
            min_factor=_COARSEST,
            strict=True,
        )
    except ValueError as error:
        raise Rejected("unreadable_image", "the JPEG stream is damaged: bytes are missing or left over") from error


def decode_jpeg(data: bytes, stream: Codestream, photometric: str) -> NDArray[np.uint8]:
    """Returns grey (rows, columns) or RGB (rows, columns, 3) of the JPEG stream of a DICOM frame.

    Args:
        data: The stream.
        stream: Its header.
        photometric: The photometric interpretation of the file, used where the stream does not say.

    Raises:
        Rejected: `unreadable_image`, the stream is damaged; `unsupported_pixels`, it has 12 bits.
    """
    if stream.precision != 8:
        raise Rejected("unsupported_pixels", "12-bit JPEG is not supported")
    check_intact(data, components=stream.components)
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    if stream.components == 1:
        return np.asarray(image)
    if _libjpeg_takes_for_ybr(stream):
        image.draft("YCbCr", image.size)  # no conversion: it is done here, once, and always by the same arithmetic
    coded = np.asarray(image)
    return convert_color_space(coded, "YBR_FULL", "RGB") if _is_ybr(stream, photometric) else coded


def _libjpeg_takes_for_ybr(stream: Codestream) -> bool:
    """Returns whether libjpeg takes a stream for YBR, by the rule of its `default_decompress_parms`."""
    if stream.jfif:
        return True
    if stream.adobe_transform is not None:
        return stream.adobe_transform != 0
    return stream.identifiers != b"RGB"


def _is_ybr(stream: Codestream, photometric: str) -> bool:
    """Returns whether the components are Y, Cb and Cr: by a marker, else their names, their sizes, or the header.

    No encoder makes green and blue smaller than red without a marker, though GDCM calls such streams RGB.
    """
    if stream.jfif or stream.adobe_transform is not None:
        return _libjpeg_takes_for_ybr(stream)
    if stream.identifiers in _RGB_IDENTIFIERS:
        return False
    return stream.subsampled or photometric != "RGB"
