"""Decodes one frame of a DICOM object into pixels in [0, 1], by the grayscale pipeline of PS3.3 C.11 and PS3.4 N.2.

Monochrome: stored values -> modality (table or rescale) -> VOI (the window of the request, else the first table, else
the first window, else the task's preset, else the full range of the stored bits after the modality step) -> [0, 1] ->
inverted for MONOCHROME1. The full range is taken rather than the image's own minimum and maximum, because a scale that
depends on the pixels has no Lipschitz constant: such an image may be dark, but its radius is true. Colour: RGB, YBR
(converted by the decoder) and palettes, over the range of their bits. Overlays, padding values, supplemental palettes
and presentation LUT sequences are not drawn.

Only the elements named here are parsed; names, dates, identifiers, private elements and overlays are skipped unread.
Refused: deflated and referenced (JPIP, SMPTE) transfer syntaxes, video, objects that are not images, 1-, 32-bit and
float pixels, pixels that are not square, windows that are steps, half a rescale or window, and photometric
interpretation against presentation LUT shape. docs/decoding.md has the whole table.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels.processing import apply_color_lut
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage, check_size, crop, pixels_sha256
from certrad.models.types import Region
from certrad.models.types.applied_window import AppliedWindow, FullRange
from certrad.models.types.image import ImageFacts, ImageWarning, Transform, Unit
from certrad.models.types.window import FileWindow, RenderedWindow, shown_window
from certrad.workers.decoders.bounded_reader import bounded_reader
from certrad.workers.decoders.burned_in import may_have_burned_in_annotation
from certrad.workers.decoders.dicom_rendering import StoredFrame, check_pixel_shape, monochrome_rendering
from certrad.workers.decoders.grayscale import Step, full_range, parameters, render, slope, transform_name
from certrad.workers.decoders.grey_values import unwindowed
from certrad.workers.decoders.pixel_data import Integers, PixelElement, PixelLayout, stored_values
from certrad.workers.decoders.transfer_syntaxes import TRANSFER_SYNTAXES, TransferSyntax
from certrad.workers.decoders.windows import window_for_colour_refusal

_TEXT_IN_PIXELS: Final[dict[bool, tuple[ImageWarning, ...]]] = {False: (), True: ("burned_in_annotation",)}
_NOT_AN_IMAGE: Final = {"SEG", "RTDOSE", "PR", "SR", "KO", "REG", "RTSTRUCT", "RTPLAN", "DOC", "PM"}
_COLOURS: Final = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_JPEG_2000_COLOURS: Final = {"YBR_ICT", "YBR_RCT"}
_IMAGES_BY_ANOTHER_NAME: Final = {"1.2.840.10008.5.1.4.1.1.6.2"}  # Enhanced US Volume Storage
_PIXEL_DATA: Final = 0x7FE00010
_FLOAT_PIXEL_DATA: Final = {0x7FE00008, 0x7FE00009}
_META_START: Final = 132
_META_GROUP: Final = 0x0002
_ONE_SAMPLE: Final = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_PALETTE_TRANSFORM: Final[dict[str, tuple[Transform, ...]]] = {"PALETTE COLOR": ("palette",)}
_PALETTES: Final = tuple(
    f"{segmented}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
_READ: Final = tuple(
    tag
    for keyword in (
        "SOPClassUID",
        "Modality",
        "BurnedInAnnotation",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelAspectRatio",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "PlanarConfiguration",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "LossyImageCompression",
        "ModalityLUTSequence",
        "VOILUTSequence",
        "PresentationLUTShape",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        *_PALETTES,
    )
    if (tag := tag_for_keyword(keyword)) is not None
)


def decode(
    data: bytes,
    *,
    max_pixels: int,
    frame: int | None = None,
    region: Region | None = None,
    window: RenderedWindow = FileWindow(),  # noqa: B008  # frozen
    on_size: Callable[[int], None] | None = None,
) -> DecodedImage:
    """Decodes one frame of a DICOM file (PS3.10).

    Args:
        data: The file.
        max_pixels: Maximum number of pixels.
        frame: The frame, from 1; None where there is only one.
        region: The part of the frame to keep; None for all of it.
        window: The window of a monochrome frame.
        on_size: Called with the number of pixels before one of them is decoded.

    Returns:
        The decoded frame.

    Raises:
        Rejected: `unreadable_image`, `image_too_large`, `image_too_small`, `unsupported_pixels`,
            `dicom_without_pixels`, `dicom_not_an_image`, `dicom_unsupported`, `frame_required`, `frame_out_of_range`,
            `region_out_of_range` or `unknown_window`.
    """
    with _pydicom():
        syntax = _syntax(data)
        dataset, element = _header(data)
        layout = _layout(dataset, syntax)
        check_size(rows=layout.rows, columns=layout.columns, max_pixels=max_pixels)
        if on_size is not None:
            on_size(layout.rows * layout.columns)
        number = _frame(frame, layout.frames)
        check_pixel_shape(dataset, number)
        whole, stream_lossy = stored_values(data, element, dataset, syntax, layout, number)
        stored = crop(whole, region)
        steps: tuple[Step, ...]
        bits, of_one, offered, rewindow = layout.bits, 1.0, 0, None
        warned: tuple[ImageWarning, ...] = ()
        unit: Unit = "grey level"
        applied: AppliedWindow = FullRange()
        is_colour = layout.photometric == "PALETTE COLOR" or layout.samples == 3
        if is_colour and not isinstance(shown_window(window)[0], FileWindow):
            raise window_for_colour_refusal()
        if layout.photometric == "PALETTE COLOR":
            stored, bits = _through_palette(stored, dataset)
            steps = (full_range(bits, signed=False, modality=None),)
        elif layout.samples == 3:
            steps = (full_range(bits, signed=False, modality=None),)
        else:
            inverted = layout.photometric == "MONOCHROME1"
            frame_values = StoredFrame(values=stored, number=number, bits=bits, signed=layout.signed, inverted=inverted)
            rendering = monochrome_rendering(dataset, frame_values, window)
            steps, applied, warned = rendering.steps, rendering.window, rendering.warnings
            unit, of_one, offered = rendering.unit, rendering.units_per_value, rendering.offered
            rewindow = rendering.rewindow
        steepest = slope(steps, stored.dtype)
        lossy = syntax.lossy or stream_lossy or str(dataset.get("LossyImageCompression", "")) == "01"
    return DecodedImage(
        pixels=render(steps, stored if stored.ndim == 3 else stored[..., None]),
        sha256=pixels_sha256(stored, [parameters(step) for step in steps]),
        facts=ImageFacts(
            format="dicom",
            rows=layout.rows,
            columns=layout.columns,
            channels=3 if stored.ndim == 3 else 1,
            bits=bits,
            frames=layout.frames,
            frame=number,
            transfer_syntax=syntax.keyword,
            decoder=f"{syntax.distribution} {version(syntax.distribution)}",
            lossy=lossy,
            transforms=(*_PALETTE_TRANSFORM.get(layout.photometric, ()), *map(transform_name, steps)),
            unit=unit,
            slope=steepest / of_one,
            warnings=(*warned, *_TEXT_IN_PIXELS[may_have_burned_in_annotation(dataset)]),
            window=applied,
        ),
        offered=offered,
        unwindowed=None if is_colour else unwindowed(steps, stored),
        rewindow=rewindow,
    )


@contextmanager
def _pydicom() -> Iterator[None]:
    """Turns any error of pydicom and its decoders into Rejected; drops messages and warnings, which quote values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Rejected, MemoryError):
        raise
    except Exception as error:  # malformed files raise nearly anything
        raise Rejected("unreadable_image", "the DICOM file is truncated or corrupt") from error


def _syntax(data: bytes) -> TransferSyntax:
    """Returns the transfer syntax; read first, because pydicom inflates a deflated data set whole."""
    with bounded_reader(data[_META_START:]) as file:
        meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != _META_GROUP)
    syntax = TRANSFER_SYNTAXES.get(str(meta.get("TransferSyntaxUID", "")))
    if syntax is None:
        raise Rejected(
            "dicom_unsupported",
            "this transfer syntax is not supported; send the image uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000",
        )
    return syntax


def _header(data: bytes) -> tuple[Dataset, PixelElement]:
    """Returns the elements of `_READ` and where the pixels are; rejects all but integer pixels of an image."""
    pixels: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: int, representation: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA or tag in _FLOAT_PIXEL_DATA:
            pixels.append((tag, representation, length))
        return bool(pixels)

    with bounded_reader(data) as file:
        dataset = read_partial(file, stop_when=at_pixels, specific_tags=list(_READ))
        place = file.tell()
    if dataset.get("Modality") in _NOT_AN_IMAGE:
        raise Rejected("dicom_not_an_image", f"the object must be an image, got modality {dataset.get('Modality')}")
    if not pixels:
        raise Rejected("dicom_without_pixels", "the object has no pixel data element")
    _check_class(dataset)
    tag, representation, length = pixels[0]
    if tag != _PIXEL_DATA:
        raise Rejected("unsupported_pixels", "pixels must be integers, got floating-point numbers")
    # The element itself shows whether it has a value representation: files are not always encoded as they say.
    head = 12 if representation in EXPLICIT_VR_LENGTH_32 else 8
    return dataset, PixelElement(start=place + head, length=length, representation=representation)


def _check_class(dataset: Dataset) -> None:
    """Rejects storage classes of the standard that are not of images; unknown ones may be images.

    A map or a dose may give the modality of the image that it was made from.
    """
    for sop_class in (dataset.get("SOPClassUID"), dataset.file_meta.get("MediaStorageSOPClassUID")):
        name = UID_dictionary.get(str(sop_class), ("Image",))[0]
        if "Image" not in name and sop_class not in _IMAGES_BY_ANOTHER_NAME:
            raise Rejected("dicom_not_an_image", f"the object must be an image, got {name}")


def _layout(dataset: Dataset, syntax: TransferSyntax) -> PixelLayout:
    layout = PixelLayout(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        frames=int(dataset.get("NumberOfFrames") or 1),
        allocated=int(dataset.BitsAllocated),
        bits=int(dataset.BitsStored),
        signed=bool(dataset.get("PixelRepresentation")),
        photometric=str(dataset.get("PhotometricInterpretation")),
    )
    if layout.allocated not in (8, 16) or not 1 < layout.bits <= layout.allocated:
        raise Rejected("unsupported_pixels", "only 2 to 16 bits stored in 8- or 16-bit words are supported")
    if int(dataset.get("HighBit", layout.bits - 1)) != layout.bits - 1:
        raise Rejected("unsupported_pixels", "the high bit must be the last of the stored bits")
    if syntax.keyword == "JPEGExtended12Bit" and layout.bits > 8:
        raise Rejected("dicom_unsupported", "12-bit JPEG is not supported")
    if layout.photometric in _COLOURS:
        converted = layout.photometric not in _JPEG_2000_COLOURS or syntax.process == "jpeg_2000"
        accepted = layout.samples == 3 and not layout.signed and converted
    else:
        accepted = layout.samples == 1 and layout.photometric in _ONE_SAMPLE
    if not accepted:
        raise Rejected("unsupported_pixels", "only monochrome, palette, RGB and YBR pixels are supported")
    return layout


def _frame(frame: int | None, frames: int) -> int:
    if frame is None and frames > 1:
        raise Rejected("frame_required", f"the image has {frames} frames; `frame` names one of them, from 1")
    number = 1 if frame is None else frame
    if not 1 <= number <= frames:
        raise Rejected("frame_out_of_range", f"`frame` must be in 1..{frames}, got {number}")
    return number


def _through_palette(stored: Integers, dataset: Dataset) -> tuple[Integers, int]:
    """Returns the RGB values of a palette image, and their bits."""
    if not dataset.original_encoding[1]:
        raise Rejected(
            "unsupported_pixels", "big-endian palettes are not supported (writers disagree on their byte order)"
        )
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    coloured = apply_color_lut(stored, dataset)
    if bits not in (8, 16) or coloured.shape[2] != 3 or int(coloured.max()) >= 1 << bits:
        raise Rejected("unsupported_pixels", "a palette must have three colours of 8 or 16 bits")
    return coloured, bits
