"""Reads the stored values of one frame from the pixel data element of a DICOM file.

The header of the file and the codestream of the frame must agree about rows, columns and samples (PS3.5 8.2).
"""

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder

from certrad.models.errors import Rejected
from certrad.workers.decoders.codestream import Codestream, read_codestream
from certrad.workers.decoders.decoder_messages import heed_messages
from certrad.workers.decoders.jpeg import decode_jpeg
from certrad.workers.decoders.rle import check_runs
from certrad.workers.decoders.transfer_syntaxes import TransferSyntax
from certrad.workers.decoders.zero_runs import check_zero_runs

Integers = NDArray[np.integer[Any]]

_TILES_MAX: Final = 4096
_FEW_TILES: Final = 64
_TILE_PIXELS: Final = 1024  # smaller ones cost far more to set up than to decode
_UNDEFINED: Final = 0xFFFFFFFF
_JPEG_2000_COLOURS: Final = {"YBR_ICT", "YBR_RCT"}
_YBR: Final = {"YBR_FULL", "YBR_FULL_422"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """The accepted layouts of stored values, by the attributes of the header."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    bits: int
    signed: bool
    photometric: str

    @property
    def bytes_of_a_frame(self) -> int:
        """Returns how many bytes a frame takes when it is not compressed."""
        values = self.rows * self.columns * self.samples * self.allocated // 8
        return values // 3 * 2 if self.photometric == "YBR_FULL_422" else values


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """The place of the pixel data in the file.

    Attributes:
        start: First byte of the value.
        length: Bytes of the value, or 0xFFFFFFFF where it is undefined.
        representation: Value representation; None in implicit encoding.
    """

    start: int
    length: int
    representation: str | None


def stored_values(
    data: bytes, element: PixelElement, dataset: Dataset, syntax: TransferSyntax, layout: PixelLayout, number: int
) -> tuple[Integers, bool]:
    """Returns the stored values of a frame, and whether its codestream is lossy.

    The values are (rows, columns) or RGB (rows, columns, 3); bits above those stored are cleared.

    Args:
        data: The file.
        element: The place of the pixels in it.
        dataset: The header of the file.
        syntax: The transfer syntax.
        layout: The layout that the header describes.
        number: The frame, from 1.

    Raises:
        Rejected: `unreadable_image`, pixels and header disagree or the pixels are damaged; `unsupported_pixels`.
    """
    if not syntax.plugin:
        value = _uncompressed(data, element, layout)
        return _cleared(_decoded(value, number - 1, element, dataset, syntax, layout), layout), False
    frame = _frame(data, element, dataset, layout, number)
    if syntax.process is None:
        check_runs(frame, rows=layout.rows, columns=layout.columns, planes=layout.samples * layout.allocated // 8)
        return _cleared(_decoded(encapsulate([frame]), 0, element, dataset, syntax, layout), layout), False
    stream = read_codestream(frame)
    _check_agreement(stream, syntax, layout)
    check_zero_runs(frame, stream)
    stored = _of_codestream(frame, stream, element, dataset, syntax, layout)
    cleared = _cleared(stored, layout)
    if stream.lossy and not np.array_equal(cleared, stored):
        # What a lossy coder adds beyond the range is not a bit of its own: to clear it would turn white into black.
        raise Rejected("unreadable_image", f"decoded values need more than the {layout.bits} bits stored")
    return cleared, stream.lossy


def _uncompressed(data: bytes, element: PixelElement, layout: PixelLayout) -> memoryview:
    """Returns the value of all frames; only padding may follow them."""
    if element.length == _UNDEFINED:
        raise Rejected("unreadable_image", "uncompressed pixel data must have a defined length")
    value = memoryview(data)[element.start : element.start + element.length]
    expected = layout.bytes_of_a_frame * layout.frames
    if layout.photometric == "YBR_FULL_422" and layout.columns % 2:
        raise Rejected("unreadable_image", "YBR_FULL_422 needs an even number of columns")
    if len(value) < element.length or len(value) < expected or any(value[expected:]):
        raise Rejected(
            "unreadable_image",
            f"pixel data must have {expected} bytes by the header, got {len(value)} of {element.length}",
        )
    return value


def _frame(data: bytes, element: PixelElement, dataset: Dataset, layout: PixelLayout, number: int) -> bytes:
    """Returns the compressed bytes of a frame."""
    buffer = io.BytesIO(data)
    buffer.seek(element.start)
    tables = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    offsets = tables if all(tables) else None
    return get_frame(buffer, number - 1, number_of_frames=layout.frames, extended_offsets=offsets)


def _check_agreement(stream: Codestream, syntax: TransferSyntax, layout: PixelLayout) -> None:
    """Checks that the codestream has the kind and shape that the header says."""
    if stream.process != syntax.process:
        raise Rejected("unreadable_image", f"the codestream is not of the transfer syntax {syntax.keyword}")
    said = (layout.rows, layout.columns, layout.samples)
    got = (stream.rows, stream.columns, stream.components)
    if got != said:
        raise Rejected(
            "unreadable_image",
            "the header says {} rows, {} columns and {} samples, but the codestream {}, {} and {}".format(*said, *got),
        )
    if stream.precision > layout.allocated:
        raise Rejected(
            "unreadable_image", f"the header allocates {layout.allocated} bits, the codestream has {stream.precision}"
        )
    if stream.precision < layout.bits and stream.signed != layout.signed:  # which bit is the sign is then not known
        raise Rejected("unreadable_image", "header and codestream disagree about bits and sign")
    if stream.process == "jpeg_2000":
        _check_jpeg_2000(stream, layout)


def _check_jpeg_2000(stream: Codestream, layout: PixelLayout) -> None:
    small = stream.tiles > _FEW_TILES and stream.tiles * _TILE_PIXELS > layout.rows * layout.columns
    if small or stream.tiles > _TILES_MAX:
        raise Rejected("unsupported_pixels", f"JPEG 2000 of {stream.tiles} small tiles is not supported")
    if layout.photometric in (_YBR if stream.colour_transform else _JPEG_2000_COLOURS):
        raise Rejected("unsupported_pixels", f"{layout.photometric} disagrees with the codestream's colour transform")


def _of_codestream(
    frame: bytes,
    stream: Codestream,
    element: PixelElement,
    dataset: Dataset,
    syntax: TransferSyntax,
    layout: PixelLayout,
) -> Integers:
    if stream.process == "jpeg":
        values = decode_jpeg(frame, stream, layout.photometric).astype(f"u{layout.allocated // 8}")
        return values.view(f"i{layout.allocated // 8}") if layout.signed else values
    encapsulated = encapsulate([frame])
    if stream.process == "jpeg_lossless":
        return heed_messages(lambda: _decoded(encapsulated, 0, element, dataset, syntax, layout))
    return _decoded(encapsulated, 0, element, dataset, syntax, layout)


def _decoded(
    value: bytes | memoryview,
    index: int,
    element: PixelElement,
    dataset: Dataset,
    syntax: TransferSyntax,
    layout: PixelLayout,
) -> Integers:
    """Returns one frame as pydicom and its decoder give it, with YBR converted to RGB."""
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "number_of_frames": 1 if syntax.plugin else layout.frames,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.bits,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
        "pixel_vr": element.representation or "OW",
        "correct_unused_bits": False,
    }
    if layout.samples > 1:
        options["planar_configuration"] = int(dataset.get("PlanarConfiguration") or 0)
    stored, _ = get_decoder(syntax.uid).as_array(value, index=index, decoding_plugin=syntax.plugin, **options)
    return stored


def _cleared(stored: Integers, layout: PixelLayout) -> Integers:
    """Returns values without the bits above those stored, which may hold an overlay; signed ones keep their sign."""
    shift = 8 * stored.dtype.itemsize - layout.bits
    return np.right_shift(np.left_shift(stored, shift), shift) if shift else stored
