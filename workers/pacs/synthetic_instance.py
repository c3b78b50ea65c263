"""The instance with which the connection to a PACS is tested: of a patient who does not exist, always the same one."""

import io
import uuid
import warnings
from typing import Final

_NAMESPACE: Final = uuid.UUID("b1b0e5f6-7d0e-4c55-9b6e-6f6f2b6f0c1d")
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_SIDE: Final = 8

STUDY: Final = f"2.25.{uuid.uuid5(_NAMESPACE, 'study').int}"
SERIES: Final = f"2.25.{uuid.uuid5(_NAMESPACE, 'series').int}"
INSTANCE: Final = f"2.25.{uuid.uuid5(_NAMESPACE, 'instance').int}"


def synthetic_instance() -> bytes:
    """Returns the instance: a grey square of 8 by 8 pixels, which the connector never takes as input."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.filewriter import dcmwrite
    from pydicom.uid import UID

    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = _SECONDARY_CAPTURE, INSTANCE
    data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, SERIES
    data.PatientName, data.PatientID = "CERTRAD^CONNECTION^TEST", "CERTRAD-CONNECTION-TEST"
    data.PatientBirthDate, data.PatientSex, data.ReferringPhysicianName = "", "", ""
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20000101", "000000", "TEST", ""
    data.StudyDescription = data.SeriesDescription = "SYNTHETIC: certrad pacs check, no patient"
    data.Modality, data.ConversionType, data.Manufacturer = "OT", "SYN", "certrad"
    data.SeriesNumber = data.InstanceNumber = 1
    data.PatientOrientation = data.Laterality = ""
    data.Rows = data.Columns = _SIDE
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = bytes([128]) * _SIDE**2
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(_SECONDARY_CAPTURE), UID(INSTANCE)
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    data.file_meta = meta
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()
