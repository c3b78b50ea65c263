"""A drawn CT slice of a head that shows nobody: ellipses in HU, with a window for the brain."""

from io import BytesIO
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

Ellipse = tuple[int, tuple[float, float], tuple[float, float]]
"""HU, centre and half axes, in half sides of the image."""

_AIR: Final = -1000
_SHAPES: Final[tuple[Ellipse, ...]] = (
    # later ones cover earlier ones
    (40, (0.0, 0.0), (0.62, 0.77)),  # skin
    (900, (0.0, 0.0), (0.59, 0.74)),  # skull
    (34, (0.0, 0.0), (0.54, 0.68)),  # brain
    (8, (-0.11, -0.1), (0.05, 0.2)),  # ventricles
    (8, (0.11, -0.1), (0.05, 0.2)),
    (70, (0.27, 0.18), (0.09, 0.074)),  # two lesions
    (22, (-0.3, 0.23), (0.115, 0.13)),
)
_INTERCEPT: Final = -1024


def head_slice(side: int, *more: Ellipse) -> Dataset:
    """Returns the slice, to which the caller adds who and what it is.

    Args:
        side: Pixels of a side.
        more: Ellipses that cover those of the head.
    """
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    values = np.full((side, side), _AIR)
    for value, (x0, y0), (width, height) in (*_SHAPES, *more):
        values[((x - x0) / width) ** 2 + ((y - y0) / height) ** 2 < 1] = value
    slice_ = Dataset()
    slice_.SOPClassUID, slice_.Modality = CTImageStorage, "CT"
    slice_.Rows = slice_.Columns = side
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit, slice_.PixelRepresentation = 15, 0
    slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, _INTERCEPT, "HU"
    slice_.WindowCenter, slice_.WindowWidth = 40, 150
    slice_.PixelData = (values - _INTERCEPT).astype("<u2").tobytes()
    return slice_


def to_file(slice_: Dataset) -> bytes:
    """Returns the slice as a DICOM file.

    Args:
        slice_: The slice, with its UIDs.
    """
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    slice_.save_as(file, enforce_file_format=True)
    return file.getvalue()
