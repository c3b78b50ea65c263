"""The phantom of the documentation's pictures: a drawn CT slice that shows nobody."""

from typing import Final

from certrad.bench.common.head_slice import head_slice, to_file

SIDE: Final = 512
_THIRD_VENTRICLE: Final = (8, (0.0, 0.11), (0.02, 0.1))


def phantom() -> bytes:
    """Returns the slice as a DICOM file."""
    slice_ = head_slice(SIDE, _THIRD_VENTRICLE)
    slice_.SOPInstanceUID, slice_.StudyInstanceUID, slice_.SeriesInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    slice_.PatientName, slice_.PatientID = "Phantom", "PHANTOM"
    return to_file(slice_)
