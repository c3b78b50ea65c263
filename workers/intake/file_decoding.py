"""Decodes a file by the decoder of its format: uploads in the sandbox, files of data sets in this process."""

from collections.abc import Callable
from typing import Final

from certrad.models.datasets.pixels import Pixels, decode_with_pillow
from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.types import Region
from certrad.models.types.window import FileWindow, RenderedWindow
from certrad.workers.contract.formats import sniff
from certrad.workers.decoders import dicom, raster

_PUBLISHED_MAX_PIXELS: Final = 64_000_000


def decode_file(
    data: bytes,
    *,
    max_pixels: int,
    frame: int | None = None,
    region: Region | None = None,
    window: RenderedWindow,
    on_size: Callable[[int], None] | None = None,
) -> DecodedImage:
    """Returns an image, decoded by the decoder of its format.

    Args:
        data: The file.
        max_pixels: Pixels that are decoded, at most.
        frame: Frame of a multi-frame image, from 1.
        region: The part of the image to decode.
        window: The window of a grey image.
        on_size: Called with the number of pixels before one of them is decoded.

    Raises:
        Rejected: The bytes, the frame, the region or the window are to blame.
    """
    match sniff(data):
        case None:
            raise Rejected("unsupported_format", "the first bytes are of no PNG, JPEG, TIFF or DICOM file")
        case "dicom":
            return dicom.decode(data, max_pixels=max_pixels, frame=frame, region=region, window=window, on_size=on_size)
        case raster_format:
            if frame not in (None, 1):
                raise Rejected("frame_out_of_range", f"`frame` must be 1, got {frame}")
            return raster.decode(
                data, raster_format, max_pixels=max_pixels, region=region, window=window, on_size=on_size
            )


def decode_published(content: bytes, window: FileWindow = FileWindow()) -> Pixels:  # noqa: B008  # frozen
    """Returns the pixels of a file of a published data set: DICOM as uploads, any other as the papers' code does.

    Args:
        content: The file.
        window: The window of the file, with the presets of the task.

    Raises:
        Rejected: The bytes are no such image.
    """
    if sniff(content) == "dicom":
        return decode_as_uploaded(content, max_pixels=_PUBLISHED_MAX_PIXELS, window=window)
    return decode_with_pillow(content)


def decode_as_uploaded(
    content: bytes,
    *,
    max_pixels: int,
    window: FileWindow = FileWindow(),  # noqa: B008  # frozen
) -> Pixels:
    """Returns the pixels of a file as the service would decode it as an upload, but in this process.

    Args:
        content: The file.
        max_pixels: Pixels that are decoded, at most.
        window: The window of the file, with the presets of the task.

    Raises:
        Rejected: The bytes are no such image.
    """
    return decode_file(content, max_pixels=max_pixels, window=window).pixels
