"""Sample files built in memory, and the real ones that pydicom and pydicom-data bring along."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
Integers = NDArray[np.integer[Any]]


def sample(name: str) -> bytes:
    """A real DICOM file by its name."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"pydicom and pydicom-data have no {name}"
    return Path(path).read_bytes()


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> NDArray[Any]:
    """Integers over the whole range of their type."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def encoded(array: Integers, image_format: str, mode: str | None = None, **options: Any) -> bytes:
    """An 8-bit picture, or 16-bit grey, as Pillow writes it."""
    image = Image.fromarray(array)
    return saved(image if mode is None else image.convert(mode), image_format, **options)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_16(array: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG of RGB or RGBA, each row filtered with another of PNG's five filters' first three."""
    height, width, channels = array.shape
    rows = array.astype(">u2").view("u1").reshape(height, width * channels * 2)
    filtered = []
    for y in range(height):
        kind, before = y % 3, np.zeros_like(rows[0])
        if kind == 1:
            before[2 * channels :] = rows[y, : -2 * channels]
        elif kind == 2:
            before = rows[y - 1]
        filtered.append(bytes([kind]) + (rows[y] - before).tobytes())
    return _png(width, height, depth=16, colour={3: 2, 4: 6}[channels], raw=b"".join(filtered))


def png_bomb(side: int) -> bytes:
    """A small file that says it is a huge black picture."""
    return _png(side, side, depth=1, colour=0, raw=b"\0" * ((side + 7) // 8 + 1) * side)


def _png(width: int, height: int, *, depth: int, colour: int, raw: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def tiff_16(
    array: NDArray[np.integer[Any]], *, order: str = "<", deflate: bool = False, white_is_zero: bool = False
) -> bytes:
    """A 16-bit TIFF of grey (height, width) or RGB, in one strip."""
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else 3
    pixels = array.astype(f"{order}u2").tobytes()
    strip = zlib.compress(pixels) if deflate else pixels
    bits_at = 8 + len(strip)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, 16 if channels == 1 else bits_at),
        (259, 3, 1, 8 if deflate else 1),
        (262, 3, 1, 2 if channels == 3 else int(not white_is_zero)),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(strip)),
    ]
    body = struct.pack(f"{order}3H", 16, 16, 16)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        directory += struct.pack(
            f"{order}HHI" + ("HH" if short else "I"), tag, kind, count, *((value, 0) if short else (value,))
        )
    magic = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, bits_at + len(body))
    return magic + strip + body + directory + struct.pack(f"{order}I", 0)


def dicom(stored: Integers, **elements: Any) -> bytes:
    """A DICOM file of monochrome (rows, columns), RGB (rows, columns, 3) or several monochrome frames (n, r, c).

    elements: by keyword, over the defaults; None leaves an element out.
    """
    colour = stored.ndim == 3 and stored.shape[2] == 3
    frames = stored.shape[0] if stored.ndim == 3 and not colour else None
    rows, columns = stored.shape[:2] if frames is None else stored.shape[1:]
    bits = stored.dtype.itemsize * 8
    defaults: dict[str, Any] = {
        "SOPClassUID": COMPUTED_RADIOGRAPHY,
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "CR",
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if colour else None,
        "NumberOfFrames": frames,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.astype(stored.dtype.newbyteorder("<")).tobytes(),
    }
    values = {**defaults, **elements}
    values.setdefault("HighBit", None if values["BitsStored"] is None else values["BitsStored"] - 1)
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return written(dataset)


def written(dataset: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The file of a data set that is encoded as explicit little endian."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def item(**elements: Any) -> Dataset:
    """One item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset
