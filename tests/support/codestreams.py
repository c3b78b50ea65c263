"""Codestreams of every kind that DICOM files hold, made of small arrays, and files around them."""

import io
import tempfile
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.support.images import dicom, encoded

Integers = NDArray[np.integer[Any]]
ROWS, COLUMNS = 64, 96

SYNTAXES = {
    "jpeg": JPEGBaseline8Bit,
    "jpeg_lossless": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg_ls_near": JPEGLSNearLossless,
    "jpeg_2000": JPEG2000Lossless,
    "jpeg_2000_lossy": JPEG2000,
    "rle": RLELossless,
}


def smooth(rows: int = ROWS, columns: int = COLUMNS, *, bits: int = 8, channels: int = 1, seed: int = 0) -> Integers:
    """A wavy image with some noise, over most of the range of its bits: unlike noise, it compresses as images do."""
    y, x = np.mgrid[0:rows, 0:columns]
    rng = np.random.default_rng(seed)
    planes = [
        0.5 + 0.4 * np.sin(x / (9 + 3 * k)) * np.cos(y / (7 + 2 * k)) + rng.normal(0, 0.01, (rows, columns))
        for k in range(channels)
    ]
    values = np.clip(np.stack(planes, axis=-1), 0, 1) * ((1 << bits) - 1)
    array: NDArray[np.integer[Any]] = np.rint(values).astype(np.uint8 if bits <= 8 else np.uint16)
    if channels == 1:
        array = array[..., 0]
    return array


def codestream(kind: str, array: Integers, *, bits: int | None = None) -> bytes:
    """The codestream of one frame; `bits` are its precision, which is all of the type's if left out."""
    bits = bits or array.dtype.itemsize * 8
    if kind == "jpeg":
        return encoded(array, "jpeg", quality=95)
    if kind == "jpeg_lossless":
        return _of_gdcm(array, bits)
    options: dict[str, Any] = {
        "rows": array.shape[0],
        "columns": array.shape[1],
        "samples_per_pixel": 1 if array.ndim == 2 else 3,
        "bits_allocated": array.dtype.itemsize * 8,
        "bits_stored": bits,
        "pixel_representation": int(array.dtype.kind == "i"),
        "photometric_interpretation": "MONOCHROME2" if array.ndim == 2 else "RGB",
        "number_of_frames": 1,
        "planar_configuration": 0,
    }
    if kind == "jpeg_ls_near":
        options["jls_error"] = 3
    if kind == "jpeg_2000_lossy":
        options["j2k_cr"] = [8]
    plugin = {"rle": "pydicom", "jpeg_ls": "pyjpegls", "jpeg_ls_near": "pyjpegls"}.get(kind, "pylibjpeg")
    return bytes(get_encoder(SYNTAXES[kind]).encode(array, encoding_plugin=plugin, **options))


def compressed(kind: str, frame: bytes, like: Integers, **elements: Any) -> bytes:
    """A DICOM file with this frame whose header fits the array `like`, but for `elements`."""
    file = pydicom.dcmread(io.BytesIO(dicom(like, **elements)))
    file.PixelData = encapsulate([frame])
    file["PixelData"].is_undefined_length = True
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = SYNTAXES[kind]
    buffer = io.BytesIO()
    file.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def through_gdcm(data: bytes, syntax: int) -> pydicom.Dataset:
    """A file as GDCM compresses it, its own header elements included."""
    with tempfile.TemporaryDirectory() as directory:
        before, after = (str(Path(directory) / name) for name in ("before", "after"))
        Path(before).write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(before)
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(after)
        assert writer.Write()
        return pydicom.dcmread(io.BytesIO(Path(after).read_bytes()))


def _of_gdcm(array: Integers, bits: int) -> bytes:
    file = through_gdcm(dicom(array, BitsStored=bits), gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    return get_frame(file.PixelData, 0, number_of_frames=1)
