"""Small sound files of every format, to be mutated."""

from functools import cache
from typing import Final

from tests.support.images import dicom, encoded, item, noise, png_16, sample, tiff_16

FORMATS: Final = ("png", "jpeg", "tiff", "dicom")


@cache
def seeds(name: str) -> list[bytes]:
    """Returns the files of one format, one for each way in which the service decodes it."""
    grey, colour, deep = noise(24, 20), noise(24, 20, 3), noise(24, 20, 3, dtype="u2")
    match name:
        case "png":
            return [encoded(grey, "png"), encoded(colour, "png"), encoded(grey, "png", "P"), png_16(deep)]
        case "jpeg":
            return [encoded(grey, "jpeg"), encoded(colour, "jpeg", progressive=True)]
        case "tiff":
            lzw = encoded(colour, "tiff", compression="tiff_lzw")
            return [encoded(grey, "tiff"), lzw, tiff_16(deep), tiff_16(deep, deflate=True)]
        case _:
            files = ("MR_small.dcm", "MR_small_RLE.dcm", "JPEGLSNearLossless_08.dcm", "emri_small_jpeg_2k_lossless.dcm",
                     "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmtk.dcm", "CT_small.dcm")  # fmt: skip
            table = item(LUTDescriptor=[64, 0, 8], LUTData=list(range(64)))
            table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
            return [*map(sample, files), dicom(grey, VOILUTSequence=[table], WindowCenter=30, WindowWidth=20)]
