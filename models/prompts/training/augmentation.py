"""CoOp's augmentation of training images: random resized crop and horizontal flip."""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

AREA: Final = (0.08, 1.0)
LOG_RATIO: Final = (math.log(3 / 4), math.log(4 / 3))
ATTEMPTS: Final = 10


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each image (B, 3, H, W) in [0, 1] cropped at random, resized back, and mirrored or not.

    Resizing is bicubic. The distribution is that of torchvision's RandomResizedCrop with a share of 0.08..1 of the
    area, but every draw comes from the given generator.
    """
    height, width = size = (images.shape[-2], images.shape[-1])
    rows = []
    for image in images:
        top, left, h, w = _crop(height, width, generator)
        part = image[None, :, top : top + h, left : left + w]
        resized = F.interpolate(part, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        rows.append(resized.flip(-1) if torch.rand((), generator=generator) < 0.5 else resized)
    return torch.cat(rows)


def _crop(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of a crop; the whole image when no attempt fits."""
    for _ in range(ATTEMPTS):
        area = height * width * _uniform(*AREA, generator)
        ratio = math.exp(_uniform(*LOG_RATIO, generator))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return _integer(height - h, generator), _integer(width - w, generator), h, w
    return 0, 0, height, width


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high + 1, (), generator=generator))
