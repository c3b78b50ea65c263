"""Renders the variants of an image, one after another, in the sandbox of the decoder."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, __version__, features
from pydantic import TypeAdapter

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import ModelInput, model_input
from certrad.models.types import BackboneCard, Region
from certrad.models.types.renderings import (
    BitsVariant,
    CellVariant,
    FrameVariant,
    JpegVariant,
    RegionVariant,
    Rendering,
    ShiftVariant,
    WindowVariant,
)
from certrad.models.types.smoothing import N_MAX
from certrad.models.types.variant_lists import HeaderWindows, NamedWindows, VariantList, static_renderings
from certrad.models.types.variants import VariantRecord, VariantsRequest
from certrad.models.types.window import OfferedWindow, RenderedWindow, RequestedWindow
from certrad.models.types.window_boxes import BoxList, WindowBounds, WindowBox, box_cells, window_in_force

JPEG_ENCODER: Final = f"pillow {__version__}, libjpeg {features.version_codec('jpg')}"
"""Name and version of what encodes and decodes the variants that go through JPEG."""

_WHITE_8: Final = 255
_RENDERINGS: Final[TypeAdapter[list[Rendering]]] = TypeAdapter(list[Rendering])

Decode = Callable[[RenderedWindow, int | None, Region | None], DecodedImage]
_Order = RenderedWindow | Rendering
"""What is to be rendered; a window gets its rendering's name only when the file has been read."""


@dataclass(slots=True)
class PixelTally:
    """Adds up the pixels of everything that is decoded or rendered.

    Attributes:
        on_size: Called with the sum.
        pixels: The sum.
    """

    on_size: Callable[[int], None] | None
    pixels: int = 0

    def add(self, pixels: int) -> None:
        """Adds pixels before they are decoded or rendered.

        Args:
            pixels: Their number.
        """
        self.pixels += pixels
        if self.on_size is not None:
            self.on_size(self.pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file whose variants are rendered.

    Attributes:
        first: The image as the request shows it.
        decode: Decodes the file again, in a window, of a frame, in a region.
        window: The window of the request.
        region: The region of the request; None for the whole image.
        tally: Adds up the pixels of everything that is rendered.
    """

    first: DecodedImage
    decode: Decode
    window: RequestedWindow
    region: Region | None
    tally: PixelTally

    def variants(self, asked: VariantsRequest, most: int) -> Iterator[tuple[Rendering, DecodedImage]]:
        """Yields every variant with its name, in the order of the lists.

        Args:
            asked: What is asked for.
            most: How many variants there may be.

        Raises:
            Rejected: `too_many_variants`, before any is rendered; `variant_unavailable`, the file cannot have one of
                them; or what decoding may be refused for.
        """
        most = min(most, N_MAX // asked.n)
        orders = [order for listed in asked.lists for order in self._orders(listed, most)]
        if len(orders) > most:
            raise Rejected(
                "too_many_variants", f"`variants` may stand for at most {most} renderings, got at least {len(orders)}"
            )
        return map(self._render, orders)

    def _orders(self, listed: VariantList, most: int) -> list[_Order]:
        match listed:
            case WindowBox() | WindowBounds():
                return [*self._cells(listed, most)]
            case HeaderWindows():
                if not self.first.offered:
                    raise Rejected(
                        "variant_unavailable", "the file offers no window: it is no grey DICOM image with one"
                    )
                return [OfferedWindow(number=number) for number in range(1, self.first.offered + 1)]
            case NamedWindows(windows=windows):
                return list(windows)
            case _:
                return [*static_renderings(listed, JPEG_ENCODER)]

    def _cells(self, listed: BoxList, most: int) -> list[CellVariant]:
        base = window_in_force(self.first.facts.window)
        if self.first.rewindow is None or base is None:
            raise Rejected(
                "variant_unavailable",
                "a box of windows needs a grey image with a window, or of 8 bits; send `window` to choose one",
            )
        try:
            return box_cells(listed, base, most)
        except ValueError as refusal:
            raise Rejected("variant_unavailable", str(refusal)) from refusal

    def _render(self, order: _Order) -> tuple[Rendering, DecodedImage]:
        facts, (rows, columns) = self.first.facts, self.first.pixels.shape[:2]
        self.tally.add(rows * columns)
        match order:
            case CellVariant() | ShiftVariant() | BitsVariant() | JpegVariant():
                return order, replace(self.first, pixels=self._changed(order))
            case FrameVariant(offset=offset):
                if not 1 <= facts.frame + offset <= facts.frames:
                    raise Rejected("variant_unavailable", f"the file has no frame {facts.frame + offset}")
                return order, self.decode(self.window, facts.frame + offset, self.region)
            case RegionVariant(down=down, right=right):
                return order, self.decode(self.window, facts.frame, self._region(down, right))
            case WindowVariant():
                raise TypeError("a window must be ordered as a window")
            case window:
                image = self.decode(window, facts.frame, self.region)
                if image.facts.window is None:
                    raise TypeError("a decoder must say which window it applied")
                return WindowVariant(window=image.facts.window), image

    def _region(self, down: int, right: int) -> Region:
        region, facts = self.region, self.first.facts
        if region is None:
            raise Rejected("variant_unavailable", "`region` must be sent for a region that moves")
        x, y = region.x + right, region.y + down
        if x < 0 or y < 0 or x + region.w > facts.columns or y + region.h > facts.rows:
            raise Rejected("variant_unavailable", "the region would leave the image")
        return replace(region, x=x, y=y)

    def _changed(self, order: CellVariant | ShiftVariant | BitsVariant | JpegVariant) -> NDArray[np.float64]:
        """Returns the pixels of a rendering that needs no more of the file than its first one."""
        pixels = self.first.pixels
        match order:
            case CellVariant():
                if self.first.rewindow is None:
                    raise TypeError("a cell must be ordered only of an image that has a window")
                return self.first.rewindow(order.function, order.centre, order.width)
            case ShiftVariant(down=down, right=right):
                return moved(pixels, down, right)
            case BitsVariant(bits=bits):
                levels = (1 << bits) - 1
                return np.rint(pixels * levels) / levels
            case JpegVariant(quality=quality):
                return through_jpeg(pixels, quality)


def moved(pixels: NDArray[np.float64], down: int, right: int) -> NDArray[np.float64]:
    """Returns an image moved by whole pixels; where it has no pixel its edge is repeated.

    Args:
        pixels: (height, width, channels).
        down: Pixels down, negative for up.
        right: Pixels to the right, negative for left.
    """
    rows, columns = (
        np.clip(np.arange(side) - by, 0, side - 1) for side, by in ((pixels.shape[0], down), (pixels.shape[1], right))
    )
    return np.ascontiguousarray(pixels[rows][:, columns])


def through_jpeg(pixels: NDArray[np.float64], quality: int) -> NDArray[np.float64]:
    """Returns an image rounded to 8 bits, encoded as JPEG and decoded again.

    Args:
        pixels: (height, width, 1 or 3) in [0, 1].
        quality: Quality of the encoder, 1 to 100.
    """
    levels: NDArray[Any] = np.rint(pixels * _WHITE_8).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(file, format="JPEG", quality=quality)
    file.seek(0)
    decoded = np.asarray(Image.open(file, formats=["JPEG"]), dtype=np.float64) / _WHITE_8
    return decoded.reshape(pixels.shape)


def render_variants(
    source: Source, asked: VariantsRequest, most: int, card: BackboneCard
) -> tuple[list[dict[str, Any]], bytes]:
    """Returns the names of all variants as JSON has them, and their model inputs one behind another.

    Args:
        source: The file.
        asked: What is asked for.
        most: How many variants there may be.
        card: The backbone, which names the size of the model input.

    Raises:
        Rejected: See `Source.variants`.
    """
    names, inputs = [], []
    for rendering, image in source.variants(asked, most):
        names.append(rendering)
        inputs.append(model_input(image, card.image_size, card.fit).tobytes())
    return _RENDERINGS.dump_python(names, mode="json"), b"".join(inputs)


def read_variants(pixels: ModelInput, names: object, inputs: bytes) -> tuple[ModelInput, tuple[VariantRecord, ...]]:
    """Returns what `render_variants` returned in a sandbox, checked: the model input with its variants, and records.

    Args:
        pixels: The model input of the file as the request shows it.
        names: The names of the variants, as JSON has them.
        inputs: Their model inputs.

    Raises:
        ValueError: They are malformed.
    """
    renderings, side = _RENDERINGS.validate_python(names), pixels.pixels.shape[1]
    size = ModelInput.size_in_bytes(side)
    variants = [ModelInput.from_bytes(inputs[at : at + size], side) for at in range(0, len(inputs), size)]
    records = [
        VariantRecord(rendering=rendering, input_sha256=variant.sha256)
        for rendering, variant in zip(renderings, variants, strict=True)
    ]
    return replace(pixels, variants=tuple(variants)), tuple(records)
