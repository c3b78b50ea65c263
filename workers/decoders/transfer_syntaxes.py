"""The DICOM transfer syntaxes that are accepted, each with the one decoder it is decoded with.

Deflated ones are missing because pydicom inflates them whole before any limit can be asked; referenced ones (JPIP,
SMPTE) because their pixels are elsewhere; MPEG because a video is no image.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """A transfer syntax: its keyword, and the one decoder that is used for it.

    Decoders of lossy JPEG differ by a grey level or two, which is as much as a radius, so the choice is fixed.
    plugin: pydicom's name of the decoder, empty where nothing is encoded. distribution: the package it comes from.
    """

    keyword: str
    plugin: str = ""
    distribution: str = "pydicom"
    lossy: bool = False


TRANSFER_SYNTAXES: Final = {
    "1.2.840.10008.1.2": TransferSyntax("ImplicitVRLittleEndian"),
    "1.2.840.10008.1.2.1": TransferSyntax("ExplicitVRLittleEndian"),
    "1.2.840.10008.1.2.2": TransferSyntax("ExplicitVRBigEndian"),
    "1.2.840.10008.1.2.5": TransferSyntax("RLELossless", "pydicom"),
    "1.2.840.10008.1.2.4.50": TransferSyntax("JPEGBaseline8Bit", "pillow", "pillow", lossy=True),
    "1.2.840.10008.1.2.4.51": TransferSyntax("JPEGExtended12Bit", "pillow", "pillow", lossy=True),
    "1.2.840.10008.1.2.4.57": TransferSyntax("JPEGLossless", "gdcm", "python-gdcm"),
    "1.2.840.10008.1.2.4.70": TransferSyntax("JPEGLosslessSV1", "gdcm", "python-gdcm"),
    "1.2.840.10008.1.2.4.80": TransferSyntax("JPEGLSLossless", "pyjpegls", "pyjpegls"),
    "1.2.840.10008.1.2.4.81": TransferSyntax("JPEGLSNearLossless", "pyjpegls", "pyjpegls", lossy=True),
    "1.2.840.10008.1.2.4.90": TransferSyntax("JPEG2000Lossless", "pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.91": TransferSyntax("JPEG2000", "pylibjpeg", "pylibjpeg-openjpeg", lossy=True),
    "1.2.840.10008.1.2.4.201": TransferSyntax("HTJ2KLossless", "pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.202": TransferSyntax("HTJ2KLosslessRPCL", "pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.203": TransferSyntax("HTJ2K", "pylibjpeg", "pylibjpeg-openjpeg", lossy=True),
}
