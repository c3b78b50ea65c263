"""Changes of acquisition: the same anatomy under another window, background, gamma and frame.

A data set often holds every class at one background level. A prompt that is tuned under noise then learns the level,
because a large flat area is the feature that noise hurts least. These changes take the level away as a feature.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.types.tuning import Acquisition

Range = tuple[float, float]

_BRIGHT: Final = 0.995
"""The quantile of the pixels up to which an image is taken to be bright."""
_DARKEST_BRIGHT: Final = 0.35
"""An image that is darker than this is windowed as if its bright end were here."""
_NARROWEST: Final = 0.25
"""The smallest width of a window, as a share of the range from black to white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionRanges:
    """The ranges of the changes; the defaults are the set `radiology`.

    Every number is drawn anew for each image, uniformly in its range, `gamma` and `aspect` in their logarithm. Images
    are not mirrored: left and right are not exchanged by any scanner or export.

    Attributes:
        name: Name of the set.
        changed: Share of images that are changed at all.
        windowed: Share of the changed images that get another window.
        blackened: Share of the windows that begin just above the background, so that it becomes black.
        window_low: Lower end of the other windows, in multiples of the background level.
        window_high: Upper end: 0 is white, 1 is the bright end of the image.
        gamma: Exponent of the grey levels.
        lifted: Share of the changed images whose background is lifted, as padding values do.
        floor: Grey level to which black is then lifted, in pixels of [0, 1].
        zoom: Size of the frame, in multiples of the image; what lies outside gets the background level.
        aspect: Ratio of width to height.
        tilt: Angle, in degrees.
        shift: Shift in each direction, as a share of the side.
        barred: Share of the changed images with black bars on two opposite sides.
        bar: Width of a bar, as a share of the side.
    """

    name: str = "radiology"
    changed: float = 0.65
    windowed: float = 0.75
    blackened: float = 0.3
    window_low: Range = (-0.4, 1.05)
    window_high: Range = (-0.3, 1.0)
    gamma: Range = (0.4, 1.8)
    lifted: float = 0.5
    floor: Range = (0.0, 0.4)
    zoom: Range = (0.75, 1.35)
    aspect: Range = (0.86, 1.16)
    tilt: Range = (-11.0, 11.0)
    shift: Range = (-0.06, 0.06)
    barred: float = 0.15
    bar: Range = (0.03, 0.15)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ValueError(f"{field.name} must be a share in [0, 1], got {value!r}")
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise ValueError(f"{field.name} must be a range of two numbers in order, got {value!r}")
        for name in ("gamma", "zoom", "aspect"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)!r}")

    @staticmethod
    def from_card(document: Mapping[str, Any]) -> "AcquisitionRanges":
        """Returns the ranges that the card of a prompt holds under `tuning.acquisition`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return AcquisitionRanges(**values)


RANGES: Final[Mapping[Acquisition, AcquisitionRanges | None]] = {"none": None, "radiology": AcquisitionRanges()}
"""The ranges of every value of the field `acquisition`."""


def change_acquisition(images: Tensor, ranges: AcquisitionRanges, generator: torch.Generator) -> Tensor:
    """Returns each image as another acquisition of it, in [0, 1] and of the same size.

    Args:
        images: (B, C, H, W) float in [0, 1] on the CPU; the channels of an image are changed alike.
        ranges: The ranges of the changes.
        generator: Draws everything.
    """
    draw = _Draws(len(images), generator)
    changed = draw.chosen(ranges.changed)
    shown = _lift(_curve(_window(images, ranges, draw), ranges, draw), ranges, draw)
    framed = _bars(_frame(shown, ranges, draw), ranges, draw)
    return torch.where(changed, framed.clamp(0, 1), images)


def background_level(images: Tensor) -> Tensor:
    """Returns the background level (B, 1, 1, 1) of images (B, C, H, W): the median of their outermost pixels."""
    edges = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], dim=-1)
    return edges.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)


class _Draws:
    """Numbers (B, 1, 1, 1), one for each image of a batch."""

    def __init__(self, n_images: int, generator: torch.Generator) -> None:
        self._shape = (n_images, 1, 1, 1)
        self._generator = generator

    def uniform(self, between: Range) -> Tensor:
        low, high = between
        return low + (high - low) * torch.rand(self._shape, generator=self._generator)

    def log_uniform(self, between: Range) -> Tensor:
        low, high = between
        return self.uniform((math.log(low), math.log(high))).exp()

    def chosen(self, share: float) -> Tensor:
        return torch.rand(self._shape, generator=self._generator) < share


def _window(images: Tensor, ranges: AcquisitionRanges, draw: _Draws) -> Tensor:
    """Returns the images between another black and another white."""
    background = background_level(images)
    bright = images.flatten(1).quantile(_BRIGHT, dim=1).clamp_min(_DARKEST_BRIGHT).view(-1, 1, 1, 1)
    low = torch.where(draw.chosen(ranges.blackened), background + 0.01, background * draw.uniform(ranges.window_low))
    high = torch.maximum(1 - (1 - bright) * draw.uniform(ranges.window_high), low + _NARROWEST)
    return torch.where(draw.chosen(ranges.windowed), ((images - low) / (high - low)).clamp(0, 1), images)


def _curve(images: Tensor, ranges: AcquisitionRanges, draw: _Draws) -> Tensor:
    return images.pow(draw.log_uniform(ranges.gamma))


def _lift(images: Tensor, ranges: AcquisitionRanges, draw: _Draws) -> Tensor:
    floor = draw.uniform(ranges.floor) * draw.chosen(ranges.lifted)
    return floor + (1 - floor) * images


def _frame(images: Tensor, ranges: AcquisitionRanges, draw: _Draws) -> Tensor:
    """Returns the images zoomed, stretched, tilted and shifted, with the background level around them."""
    zoom, stretch = draw.uniform(ranges.zoom), draw.log_uniform(ranges.aspect).sqrt()
    tilt = draw.uniform(ranges.tilt).deg2rad()
    right, down = (2 * draw.uniform(ranges.shift) for _ in range(2))  # a grid has the side 2
    rows = [
        [zoom / stretch * tilt.cos(), -zoom / stretch * tilt.sin(), right],
        [zoom * stretch * tilt.sin(), zoom * stretch * tilt.cos(), down],
    ]
    maps = torch.cat([torch.cat(row, dim=-1) for row in rows], dim=-2).squeeze(1)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    background = background_level(images)
    return F.grid_sample(images - background, grid, align_corners=False) + background


def _bars(images: Tensor, ranges: AcquisitionRanges, draw: _Draws) -> Tensor:
    """Returns some of the images with black bars above and below or at the left and the right."""
    height, width = images.shape[-2:]
    vertical, barred = draw.chosen(0.5), draw.chosen(ranges.barred)
    share = draw.uniform(ranges.bar)
    bars = torch.where(vertical, _from_edge(width).view(1, 1, 1, -1), _from_edge(height).view(1, 1, -1, 1)) < share
    return images.masked_fill(bars & barred, 0)


def _from_edge(size: int) -> Tensor:
    """Returns the distance (size,) of every pixel's centre from the nearer end, as a share of the side."""
    centres = (torch.arange(size) + 0.5) / size
    return torch.minimum(centres, 1 - centres)
