"""Accepted DICOM transfer syntaxes, each with the one decoder that decodes it.

Deflated ones are missing because pydicom inflates them whole before any limit applies; referenced ones (JPIP,
SMPTE) because their pixels are elsewhere; MPEG because a video is no image.
"""

from dataclasses import dataclass
from typing import Final

from certrad.workers.decoders.codestream import Process


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """A transfer syntax: its UID and keyword, and the one decoder that is used for it.

    Decoders of lossy JPEG differ by a grey level or two, which is as much as a radius, so the choice is fixed.

    Attributes:
        uid: UID of the transfer syntax.
        keyword: Keyword of the transfer syntax.
        plugin: pydicom's name of the decoder, empty where nothing is encoded.
        distribution: The package that the decoder comes from.
        process: Kind of the codestream of a frame; None where there is no codestream.
        lossy: Whether codestreams of this syntax may lose something, so that an image of it is called lossy.
    """

    uid: str
    keyword: str
    plugin: str = ""
    distribution: str = "pydicom"
    process: Process | None = None
    lossy: bool = False


_JPEG_2000: Final = ("pylibjpeg", "pylibjpeg-openjpeg", "jpeg_2000")
_SYNTAXES: Final = (
    TransferSyntax("1.2.840.10008.1.2", "ImplicitVRLittleEndian"),
    TransferSyntax("1.2.840.10008.1.2.1", "ExplicitVRLittleEndian"),
    TransferSyntax("1.2.840.10008.1.2.2", "ExplicitVRBigEndian"),
    TransferSyntax("1.2.840.10008.1.2.5", "RLELossless", "pydicom"),
    TransferSyntax("1.2.840.10008.1.2.4.50", "JPEGBaseline8Bit", "pillow", "pillow", "jpeg", lossy=True),
    TransferSyntax("1.2.840.10008.1.2.4.51", "JPEGExtended12Bit", "pillow", "pillow", "jpeg", lossy=True),
    TransferSyntax("1.2.840.10008.1.2.4.57", "JPEGLossless", "gdcm", "python-gdcm", "jpeg_lossless"),
    TransferSyntax("1.2.840.10008.1.2.4.70", "JPEGLosslessSV1", "gdcm", "python-gdcm", "jpeg_lossless"),
    TransferSyntax("1.2.840.10008.1.2.4.80", "JPEGLSLossless", "pyjpegls", "pyjpegls", "jpeg_ls"),
    TransferSyntax("1.2.840.10008.1.2.4.81", "JPEGLSNearLossless", "pyjpegls", "pyjpegls", "jpeg_ls", lossy=True),
    TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG2000Lossless", *_JPEG_2000),
    TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG2000", *_JPEG_2000, lossy=True),
    TransferSyntax("1.2.840.10008.1.2.4.201", "HTJ2KLossless", *_JPEG_2000),
    TransferSyntax("1.2.840.10008.1.2.4.202", "HTJ2KLosslessRPCL", *_JPEG_2000),
    TransferSyntax("1.2.840.10008.1.2.4.203", "HTJ2K", *_JPEG_2000, lossy=True),
)

TRANSFER_SYNTAXES: Final = {syntax.uid: syntax for syntax in _SYNTAXES}
