"""The drawn CT slice that the package ships for its self-test; it is of nobody and free of rights."""

from typing import Final

from certrad.bench.common.head_slice import head_slice, to_file

SIDE: Final = 128
_INSTANCE: Final = "2.25.315000000000000000000000000000000028"


def phantom() -> bytes:
    """Returns the slice as a DICOM file; always the same bytes, but for the version that pydicom writes into it."""
    slice_ = head_slice(SIDE)
    slice_.SOPInstanceUID = _INSTANCE
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = f"{_INSTANCE}.1", f"{_INSTANCE}.2"
    slice_.PatientName, slice_.PatientID = "CERTRAD^SELF^TEST", "CERTRAD-SELF-TEST"
    slice_.PatientBirthDate = slice_.PatientSex = slice_.StudyDate = slice_.StudyTime = ""
    slice_.SeriesDescription = "SYNTHETIC: certrad selftest, no patient"
    return to_file(slice_)
