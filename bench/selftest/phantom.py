"""The drawn CT slice that the package ships for its self-test: ellipses in HU, of nobody, free of rights."""

from io import BytesIO
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

SIDE: Final = 128
_AIR: Final = -1000
_SHAPES: Final = (
    (40, (0.0, 0.0), (0.62, 0.77)),  # skin
    (900, (0.0, 0.0), (0.59, 0.74)),  # skull
    (34, (0.0, 0.0), (0.54, 0.68)),  # brain
    (8, (-0.11, -0.1), (0.05, 0.2)),  # ventricles
    (8, (0.11, -0.1), (0.05, 0.2)),
    (70, (0.27, 0.18), (0.09, 0.074)),  # two lesions
    (22, (-0.3, 0.23), (0.115, 0.13)),
)
"""HU, centre and half axes of each ellipse, in half sides of the image; later ones cover earlier ones."""
_INTERCEPT: Final = -1024
_INSTANCE: Final = "2.25.315000000000000000000000000000000028"


def phantom() -> bytes:
    """Returns the slice as a DICOM file; always the same bytes, but for the version that pydicom writes into it."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    values = np.full((SIDE, SIDE), _AIR)
    for value, (x0, y0), (width, height) in _SHAPES:
        values[((x - x0) / width) ** 2 + ((y - y0) / height) ** 2 < 1] = value
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, _INSTANCE
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{_INSTANCE}.1", f"{_INSTANCE}.2"
    data.PatientName, data.PatientID = "CERTRAD^SELF^TEST", "CERTRAD-SELF-TEST"
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = ""
    data.Modality, data.SeriesDescription = "CT", "SYNTHETIC: certrad selftest, no patient"
    data.Rows = data.Columns = SIDE
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, _INTERCEPT, "HU"
    data.WindowCenter, data.WindowWidth = 40, 150
    data.PixelData = (values - _INTERCEPT).astype("<u2").tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    file = BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()
