"""What makes pixels of the files of data sets: as their publishers' code does, or as the service does."""

from typing import Final

from models.datasets.pixels import Pixels, rgb
from models.errors import Rejected
from workers.contract.formats import sniff
from workers.decoders import dicom, raster

_MAX_PIXELS: Final = 64_000_000


def decode(content: bytes) -> Pixels:
    """A file of a published data set: DICOM as the service reads it, any other as the papers' code does."""
    return decode_as_uploaded(content, max_pixels=_MAX_PIXELS) if sniff(content) == "dicom" else rgb(content)


def decode_as_uploaded(content: bytes, *, max_pixels: int) -> Pixels:
    """A file as the service would read it as an upload, but in this process. Raises Rejected as it does."""
    match sniff(content):
        case None:
            raise Rejected("unsupported_format", "the first bytes are of no PNG, JPEG, TIFF or DICOM file")
        case "dicom":
            return dicom.decode(content, max_pixels=max_pixels).pixels
        case image_format:
            return raster.decode(content, image_format, max_pixels=max_pixels).pixels
