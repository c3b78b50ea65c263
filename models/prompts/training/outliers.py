"""Generated images that show none of the classes: what the extra class of a bank learns from.

Nothing is downloaded: every image is drawn from a seed, four families from pieces of the labelled images themselves.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.randomness import seeded
from certrad.models.types.pixels import WHITE

_GLYPH: Final = (5, 3)
"""Rows and columns of one made-up letter."""


def outlier_images(known: Tensor, labels: Tensor, of_each: int, seed: int) -> Tensor:
    """Returns images (F·of_each, C, S, S) in [0, 1] that show no class, of F families in turn.

    Grey levels are those of 8 bits. The same seed and images give the same outliers on one machine.

    Args:
        known: (N, C, S, S) in [0, 1], labelled images of at least two classes; the channels of an outlier from pieces
            of them are theirs, those of any other are equal.
        labels: (N,).
        of_each: Images of each family.
        seed: Random seed.
    """
    channels, side = known.shape[1], known.shape[-1]
    images = []
    for name, drawn in DRAWN.items():
        pen = Pen(side, seeded(seed, "outliers", name))
        images += [drawn(pen).expand(channels, side, side) for _ in range(of_each)]
    for name, cut in CUT.items():
        pen = Pen(side, seeded(seed, "outliers", name))
        images += [cut(pen, known, labels) for _ in range(of_each)]
    return torch.stack(images).clamp(0, 1).mul(WHITE).round().div(WHITE)


def outliers_sha256(images: Tensor) -> str:
    """Returns the SHA-256 of outliers (N, C, S, S) in 8 bits, with their shape: the identity of the set."""
    shape = ",".join(map(str, images.shape)).encode()
    return hashlib.sha256(shape + b"\0" + images.mul(WHITE).round().to(torch.uint8).numpy().tobytes()).hexdigest()


class Pen:
    """Draws numbers and basic textures (S, S) from one generator."""

    def __init__(self, side: int, generator: torch.Generator) -> None:
        self.side = side
        self._generator = generator
        line = (torch.arange(side) + 0.5) / side - 0.5
        self.down, self.right = torch.meshgrid(line, line, indexing="ij")

    def between(self, low: float, high: float) -> float:
        """Returns a number in a range, uniformly."""
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def whole(self, low: int, high: int) -> int:
        """Returns a whole number in low..high."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def chosen(self, share: float) -> bool:
        """Returns True with this probability."""
        return self.between(0, 1) < share

    def uniform(self, *shape: int) -> Tensor:
        """Returns numbers in [0, 1)."""
        return torch.rand(shape, generator=self._generator)

    def order(self, n: int) -> Tensor:
        """Returns a random order of n things."""
        return torch.randperm(n, generator=self._generator)

    def clouds(self) -> Tensor:
        """Returns fractal noise in [0, 1]: random grids of several sizes, each finer one weaker."""
        total, weight, fade = torch.zeros(self.side, self.side), 1.0, self.between(0.35, 0.95)
        for size in _doubled(self.whole(2, 5), self.side):
            grid = self.uniform(1, 1, size, size)
            total += weight * F.interpolate(grid, size=self.side, mode="bicubic", align_corners=False)[0, 0]
            weight *= fade
        return _stretched(total)

    def around(self) -> tuple[Tensor, Tensor]:
        """Returns distance and angle of every pixel from a random centre, the distance in sides."""
        down, right = self.down - self.between(-0.35, 0.35), self.right - self.between(-0.35, 0.35)
        return torch.hypot(down, right), torch.atan2(right, down)

    def grey(self, pattern: Tensor) -> Tensor:
        """Returns a pattern in [0, 1] between two random grey levels, either way round."""
        first, second = self.between(0, 1), self.between(0, 1)
        return first + (second - first) * pattern


def _clouds(pen: Pen) -> Tensor:
    return pen.grey(pen.clouds())


def _shapes(pen: Pen) -> Tensor:
    """Returns ellipses, boxes and triangles of flat or cloudy grey on a flat background."""
    image = torch.full((pen.side, pen.side), pen.between(0, 1) if pen.chosen(0.6) else 0.0)
    for _ in range(pen.whole(1, 7)):
        down, right = pen.down - pen.between(-0.4, 0.4), pen.right - pen.between(-0.4, 0.4)
        angle = pen.between(0, math.pi)
        along = (right * math.cos(angle) + down * math.sin(angle)) / pen.between(0.05, 0.4)
        across = (down * math.cos(angle) - right * math.sin(angle)) / pen.between(0.05, 0.4)
        kind = pen.whole(0, 2)
        inside = (
            along**2 + across**2 < 1
            if kind == 0
            else torch.maximum(along.abs(), across.abs()) < 1
            if kind == 1
            else (along.abs() + across.abs() < 1) & (across > 0)
        )
        image = torch.where(inside, _clouds(pen) if pen.chosen(0.3) else torch.tensor(pen.between(0, 1)), image)
    return image


def _sectors(pen: Pen) -> Tensor:
    """Returns a fan or a disc of speckle on a dark background, with a few dark holes."""
    down, right = pen.down + pen.between(0.3, 0.65), pen.right - pen.between(-0.12, 0.12)
    far, angle = torch.hypot(down, right), torch.atan2(right, down)
    if pen.chosen(0.2):
        far, angle = pen.around()
        inside = far < pen.between(0.25, 0.5)
    else:
        inside = (angle.abs() < pen.between(0.35, 0.95)) & (far > pen.between(0, 0.15)) & (far < pen.between(0.7, 1.05))
    speckle = pen.clouds() * (0.35 + 1.3 * pen.uniform(pen.side, pen.side)) ** pen.between(0.5, 1.5)
    image = inside * speckle * pen.between(0.25, 1) * (1 - far * pen.between(0, 0.7)).clamp_min(0)
    for _ in range(pen.whole(0, 3)):
        image = image * (0.15 + 0.85 * (pen.around()[0] > pen.between(0.04, 0.16)))
    return image + pen.between(0, 0.08)


def _waves(pen: Pen) -> Tensor:
    """Returns gratings, boards, rings, spokes and gradients."""
    far, angle = pen.around()
    tilt, often = pen.between(0, math.pi), 2 * math.pi * pen.between(0.5, 10)
    along = pen.right * math.cos(tilt) + pen.down * math.sin(tilt)
    across = pen.down * math.cos(tilt) - pen.right * math.sin(tilt)
    kind = pen.whole(0, 4)
    wave = (
        (often * along).sin(),
        (often * along).sin() * (often * across).sin(),
        (often * far).sin(),
        (pen.whole(2, 12) * angle).sin(),
        2 * along,
    )[kind]
    return pen.grey(((wave.sign() if pen.chosen(0.4) else wave) + 1) / 2)


def _blanks(pen: Pen) -> Tensor:
    """Returns one grey level, sometimes with a gradient, weak noise or a frame."""
    level = (0.0, 1.0, pen.between(0, 1), pen.between(0, 0.15))[pen.whole(0, 3)]
    image = torch.full((pen.side, pen.side), level)
    if pen.chosen(0.3):
        image = image + pen.between(-0.3, 0.3) * pen.right + pen.between(-0.3, 0.3) * pen.down
    if pen.chosen(0.3):
        image = image + pen.between(0, 0.5) * (pen.uniform(pen.side, pen.side) - 0.5)
    if pen.chosen(0.3):
        edge = torch.maximum(pen.down.abs(), pen.right.abs()) > 0.5 - pen.between(0.02, 0.2)
        image = torch.where(edge, torch.tensor(pen.between(0, 1)), image)
    return image


def _text(pen: Pen) -> Tensor:
    """Returns lines of made-up letters."""
    scale = pen.whole(1, max(1, pen.side // 12))
    rows, columns = pen.side // ((_GLYPH[0] + 2) * scale) + 1, pen.side // ((_GLYPH[1] + 1) * scale) + 1
    letters = (pen.uniform(rows, columns, *_GLYPH) < 0.6) & (pen.uniform(rows, columns, 1, 1) < pen.between(0.4, 1))
    padded = F.pad(letters.float(), (0, 1, 0, 2))
    page = padded.permute(0, 2, 1, 3).reshape(rows * (_GLYPH[0] + 2), columns * (_GLYPH[1] + 1))
    page = page.repeat_interleave(scale, 0).repeat_interleave(scale, 1)[: pen.side, : pen.side]
    ink, paper = (1.0, 0.0) if pen.chosen(0.5) else (pen.between(0, 1), pen.between(0, 1))
    return paper + (ink - paper) * page


def _shuffled(pen: Pen, known: Tensor, _: Tensor) -> Tensor:
    """Returns a labelled image whose tiles changed places."""
    return _tiles(_one(pen, known), n := (2, 3, 4, 6, 8)[pen.whole(0, 4)], pen.order(n * n))


def _mosaic(pen: Pen, known: Tensor, _: Tensor) -> Tensor:
    """Returns four or nine labelled images in one."""
    n, side = pen.whole(2, 3), known.shape[-1]
    rows = [torch.cat([_resized(_one(pen, known), -(-side // n)) for _ in range(n)], dim=-1) for _ in range(n)]
    return torch.cat(rows, dim=-2)[..., :side, :side]


def _cut_mix(pen: Pen, known: Tensor, labels: Tensor) -> Tensor:
    """Returns a labelled image with a large part of an image of another class."""
    first = pen.whole(0, len(known) - 1)
    others = known[labels != labels[first]]
    down, right = pen.between(-0.25, 0.25), pen.between(-0.25, 0.25)
    high, wide = pen.between(0.25, 0.5), pen.between(0.25, 0.5)
    box = ((pen.down - down).abs() < high) & ((pen.right - right).abs() < wide)
    half = pen.right > 0 if pen.chosen(0.5) else pen.down > 0
    return torch.where(half if pen.chosen(0.5) else box, _one(pen, others), known[first])


def _enlarged(pen: Pen, known: Tensor, _: Tensor) -> Tensor:
    """Returns a small part of a labelled image at full size."""
    image, side = _one(pen, known), known.shape[-1]
    size = max(2, round(side * pen.between(0.1, 0.35)))
    top, left = (pen.whole(0, side - size) for _ in range(2))
    return _resized(image[..., top : top + size, left : left + size], side)


DRAWN: Final[dict[str, Callable[[Pen], Tensor]]] = {
    "clouds": _clouds,
    "shapes": _shapes,
    "sectors": _sectors,
    "waves": _waves,
    "blanks": _blanks,
    "text": _text,
}
"""Families that are drawn from nothing."""
CUT: Final[dict[str, Callable[[Pen, Tensor, Tensor], Tensor]]] = {
    "shuffled": _shuffled,
    "mosaics": _mosaic,
    "cut_mix": _cut_mix,
    "enlarged": _enlarged,
}
"""Families that are made of pieces of the labelled images."""


def _one(pen: Pen, images: Tensor) -> Tensor:
    return images[pen.whole(0, len(images) - 1)]


def _tiles(image: Tensor, n: int, order: Tensor) -> Tensor:
    """Returns an image (C, S, S) whose n·n tiles are in another order, at the same size."""
    channels, side = image.shape[0], image.shape[-1]
    even = _resized(image, size := -(-side // n) * n)
    tile = size // n
    tiles = even.view(channels, n, tile, n, tile).permute(1, 3, 0, 2, 4).reshape(n * n, channels, tile, tile)[order]
    mixed = tiles.view(n, n, channels, tile, tile).permute(2, 0, 3, 1, 4).reshape(channels, size, size)
    return mixed[..., :side, :side]


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-1] == side:
        return image
    return F.interpolate(image[None], size=side, mode="bilinear", align_corners=False, antialias=True)[0]


def _doubled(first: int, last: int) -> list[int]:
    sizes = [first]
    while sizes[-1] * 2 <= last:
        sizes.append(sizes[-1] * 2)
    return sizes


def _stretched(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp_min(1e-6)
