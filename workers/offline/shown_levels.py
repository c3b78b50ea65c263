"""Grey levels in a file that shows them in a window: as a request names it, or as a DICOM header does."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from certrad.models.images.decoded_image import DecodedImage
from certrad.models.types.window import FileWindow, FixedWindow, RenderedWindow, Unrounded
from certrad.models.types.window_boxes import GREY_LEVELS
from certrad.models.types.window_lattice import WindowFunction
from certrad.workers.decoders import dicom, raster

Open = Callable[[float, float, bool], DecodedImage]
"""Centre and width of a window, and whether it is rounded as the service does -> the image, as intake decodes it."""

_IN_HEADER: Final[tuple[tuple[WindowFunction, bool], ...]] = (
    ("LINEAR", False),
    ("SIGMOID", False),
    ("LINEAR_EXACT", True),
    ("SIGMOID", True),
    ("LINEAR", True),
)
"""Function of the window, and whether the lowest value is white."""
KINDS: Final = 2 + len(_IN_HEADER)
"""How many kinds of file there are."""
_PIXELS_MAX: Final = 1 << 24
_WHITE: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLevels:
    """An image as a box is asked for, and how somebody opens it in a window.

    Attributes:
        first: The image in the window that the box is about.
        function: The function of this window.
        open: Opens the image in another one of the same function.
    """

    first: DecodedImage
    function: WindowFunction
    open: Open


def shown_levels(levels: NDArray[np.uint8], place: int) -> ShownLevels:
    """Returns grey levels in one of the kinds of file, in turn: PNG and DICOM, every function, inverted and not.

    Args:
        levels: (height, width).
        place: The place of the image among all.
    """
    match place % KINDS:
        case 0:  # a box about a file without a window speaks of LINEAR_EXACT, which no request can name
            whole = raster.decode(_png(levels), "png", max_pixels=_PIXELS_MAX, window=FileWindow())
            return ShownLevels(first=whole, function="LINEAR_EXACT", open=_of_header(levels, "LINEAR_EXACT", False))
        case 1:
            opened = _of_request(levels)
            return ShownLevels(first=opened(*GREY_LEVELS, True), function="LINEAR", open=opened)
        case other:
            function, inverted = _IN_HEADER[other - 2]
            opened = _of_header(levels, function, inverted)
            return ShownLevels(first=opened(*GREY_LEVELS, True), function=function, open=opened)


def _of_request(levels: NDArray[np.uint8]) -> Open:
    file = _png(levels)

    def opened(centre: float, width: float, rounded: bool) -> DecodedImage:
        sent = FixedWindow(centre=centre, width=width)
        window: RenderedWindow = sent if rounded else Unrounded(window=sent)
        return raster.decode(file, "png", max_pixels=_PIXELS_MAX, window=window)

    return opened


def _of_header(levels: NDArray[np.uint8], function: WindowFunction, inverted: bool) -> Open:
    stored = _WHITE - levels if inverted else levels
    rows, columns = stored.shape
    elements: dict[str, Any] = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": "2.25.1",
        "Modality": "CR",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "VOILUTFunction": function,
    }
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OB", stored.tobytes() + bytes(stored.size % 2))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

    def opened(centre: float, width: float, rounded: bool) -> DecodedImage:
        # A decimal string of a header has 16 characters at most.
        dataset.WindowCenter, dataset.WindowWidth = f"{centre:.12g}", f"{width:.12g}"
        file = io.BytesIO()
        dcmwrite(file, dataset, enforce_file_format=True)
        window: RenderedWindow = FileWindow() if rounded else Unrounded(window=FileWindow())
        return dicom.decode(file.getvalue(), max_pixels=_PIXELS_MAX, window=window)

    return opened


def _png(levels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels)).save(file, format="PNG")
    return file.getvalue()
