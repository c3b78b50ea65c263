"""A drawn CT slice that shows nobody, for the pictures of the documentation."""

from io import BytesIO
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIDE: Final = 512
_AIR: Final = -1000
_SHAPES: Final = (
    (40, (0.0, 0.0), (0.62, 0.77)),  # skin
    (900, (0.0, 0.0), (0.59, 0.74)),  # skull
    (34, (0.0, 0.0), (0.54, 0.68)),  # brain
    (8, (-0.11, -0.1), (0.05, 0.2)),  # ventricles
    (8, (0.11, -0.1), (0.05, 0.2)),
    (8, (0.0, 0.11), (0.02, 0.1)),
    (70, (0.27, 0.18), (0.09, 0.074)),  # two lesions
    (22, (-0.3, 0.23), (0.115, 0.13)),
)
"""HU, centre and half axes of each ellipse, in half sides of the image; later ones cover earlier ones."""
_INTERCEPT: Final = -1024


def phantom() -> bytes:
    """Returns the slice as a DICOM file: a head of ellipses in HU, with a window for the brain."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    values = np.full((SIDE, SIDE), _AIR)
    for value, (x0, y0), (width, height) in _SHAPES:
        values[((x - x0) / width) ** 2 + ((y - y0) / height) ** 2 < 1] = value
    slice_ = Dataset()
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, "2.25.1"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = "2.25.2", "2.25.3"
    slice_.PatientName, slice_.PatientID = "Phantom", "PHANTOM"
    slice_.Modality = "CT"
    slice_.Rows = slice_.Columns = SIDE
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit, slice_.PixelRepresentation = 15, 0
    slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, _INTERCEPT, "HU"
    slice_.WindowCenter, slice_.WindowWidth = 40, 150
    slice_.PixelData = (values - _INTERCEPT).astype("<u2").tobytes()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    slice_.save_as(file, enforce_file_format=True)
    return file.getvalue()
