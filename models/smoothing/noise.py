"""Gaussian noise as a pure function of (key, stream, sample index), by a named law that anyone can replay."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.types import NoiseLaw
from certrad.models.types.pixels import WHITE

KEY_BYTES: Final = 32

GRID: Final = WHITE
"""Noisy pixels lie on the grid k / 255, k an integer of any sign."""

_CPU_STEP: Final = 1 << 18  # normals drawn at once: the int64 temporaries of Philox stay in the cache
_DEVICE_STEP: Final = 1 << 24  # enough to hide the launches of a hundred kernels; 64 MB a temporary
_WORD: Final = 0xFFFFFFFF


class Stream(IntEnum):
    """The purpose of the noise; the streams of one key are independent. Values are part of the law."""

    ADAPT = 0
    SELECT = 1
    ESTIMATE = 2
    PREDICT = 3


def total_variation(law: NoiseLaw, sigma: float, d: int) -> float:
    """Returns an upper bound on the total variation between one executed noisy image and the exact Gaussian one.

    Both lie on the grid. With u = 2^-53, per coordinate:

    - Arithmetic, both laws: (x + sigma eps) * 255 in float64 errs by at most 255 u (3 sigma |eps| + 2), E |eps| < 0.8;
      the rounded value changes with at most twice that probability.
    - `philox-ziggurat-f64`: the areas of numpy's ziggurat tables are off by 8.9e-15 in all; its lattice of step
      8.7e-16 changes a rounded value with probability at most 2 * 255 sigma * 8.7e-16.
    - `philox-boxmuller-f64`: a rounding boundary at c standard deviations is a curve in the unit square of the two
      uniforms and cuts at most (1/2 + 2 exp(-c^2/2)) 2^53 of its 2^106 lattice cells; all boundaries, c = -8.58..8.58
      in steps of 1 / (255 sigma), cut (13.6 * 255 sigma + 3) 2^53. Logarithm, cosine, root and products err by at most
      16 u r, r the Box-Muller radius, E r < 1.26; this too counts twice.

    The words of Philox are taken as ideal. For d = 3 * 224 * 224: 1.1e-7 and 2.7e-7 at sigma = 1, 1.9e-7 and 5.2e-7 at
    sigma = 2.

    Args:
        law: The named law of the noise.
        sigma: Noise standard deviation in pixels of [0, 1].
        d: Pixels times channels of the image, each in [0, 1].
    """
    u = 2.0**-53
    arithmetic = 2 * GRID * u * (3 * 0.8 * sigma + 2)
    generation = {
        "philox-ziggurat-f64": 8.9e-15 + 2 * GRID * sigma * 8.7e-16,
        "philox-boxmuller-f64": (13.6 * GRID * sigma + 3) * u + 2 * GRID * sigma * 16 * u * 1.26,
    }
    return d * (arithmetic + generation[law])


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard normal noise for one certificate.

    Attributes:
        key: 32 bytes, see `noise_key`.
        law: `philox-ziggurat-f64`, numpy on the CPU, or `philox-boxmuller-f64`, torch operations on any device.
    """

    key: bytes
    law: NoiseLaw = "philox-ziggurat-f64"

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"the noise key must have {KEY_BYTES} bytes, got {len(self.key)}")
        if self.law not in ("philox-ziggurat-f64", "philox-boxmuller-f64"):
            raise ValueError(f"the noise law must be philox-ziggurat-f64 or philox-boxmuller-f64, got {self.law!r}")

    def standard_normal(self, stream: Stream, index: int, shape: Sequence[int]) -> NDArray[np.float64]:
        """Returns the noise of sample `index` of `stream`, float64, on the CPU.

        Args:
            stream: What the noise is for.
            index: The sample.
            shape: Shape of the noise.
        """
        d, indices = math.prod(shape), range(index, index + 1)
        if self.law == "philox-ziggurat-f64":
            return next(ziggurat(self.key, stream, indices, d)).reshape(shape)
        flat: NDArray[np.float64] = boxmuller(self.key, stream, indices, d, torch.device("cpu")).numpy()
        return flat.reshape(shape)


def ziggurat(key: bytes, stream: Stream, indices: range, d: int) -> Iterator[NDArray[np.float64]]:
    """Yields the d normals of each sample in turn by the law `philox-ziggurat-f64`, float64, always in the same memory.

    Philox4x64-10 (Salmon et al. 2011) with key = the first 16 bytes as two little-endian words and counter words
    [0, 0, index, stream], least significant first: the block counter runs through words 0 and 1. Then numpy's ziggurat.

    Args:
        key: 32 bytes.
        stream: What the noise is for.
        indices: The samples.
        d: Normals of each sample.
    """
    philox = np.random.Philox(key=np.frombuffer(key, dtype="<u8", count=2))
    generator = np.random.Generator(philox)
    fresh = philox.state  # setting the counter in it costs a tenth of making a generator for each sample
    normals = np.empty(d)
    for index in indices:
        fresh["state"]["counter"][:] = (0, 0, index, stream)
        philox.state = fresh
        generator.standard_normal(out=normals)
        yield normals


def boxmuller(key: bytes, stream: Stream, indices: range, d: int, device: torch.device) -> torch.Tensor:
    """Returns (len(indices), d) float64 normals on `device` by the law `philox-boxmuller-f64`, one row per sample.

    Philox4x32-10 with key = the first 8 bytes as two little-endian words and counter words [pair, 0, index, stream].
    Its words w0..w3 make u1 = (v + 1) 2^-53 with v the upper 53 bits of w0 w1, u2 = v' 2^-53 with v' those of w2 w3,
    and r = sqrt(-2 ln u1) gives normals r cos(2 pi u2) and r sin(2 pi u2) at positions 2 pair and 2 pair + 1 (Box &
    Muller 1958). The uniforms are bit-exact everywhere; the normals agree between devices to about 1e-14, which
    rounding to the grid absorbs but for a share of the budget in `total_variation`.

    Args:
        key: 32 bytes.
        stream: What the noise is for.
        indices: The samples.
        d: Normals of each sample.
        device: Where the normals are drawn.
    """
    pairs = torch.arange((d + 1) // 2, dtype=torch.int64, device=device)
    normals = torch.empty((len(indices), len(pairs), 2), dtype=torch.float64, device=device)
    step = max(1, (_CPU_STEP if device.type == "cpu" else _DEVICE_STEP) // d)
    for row in range(0, len(indices), step):
        rows = indices[row : row + step]
        index = torch.arange(rows.start, rows.stop, dtype=torch.int64, device=device)[:, None]
        zero = torch.zeros_like(index)
        words = philox4x32((pairs[None, :], zero, index, zero + int(stream)), _two_words(key))
        r = _uniform53(words[0], words[1]).add_(2.0**-53).log_().mul_(-2).sqrt_()
        angle = _uniform53(words[2], words[3]).mul_(2 * math.pi)
        torch.mul(r, angle.cos(), out=normals[row : row + step, :, 0])
        torch.mul(r, angle.sin_(), out=normals[row : row + step, :, 1])
    return normals.flatten(1)[:, :d]


def philox4x32(
    counter: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], key: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns Philox4x32-10 (Salmon et al. 2011) of each counter: four words of 32 bits in int64 tensors.

    The 64-bit products wrap around in int64; both their halves come out right, for the upper one is masked after the
    arithmetic shift.

    Args:
        counter: Four words of 32 bits in int64 tensors that broadcast.
        key: Two words of 32 bits.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        # The lower halves, product1 and product0 as c1 and c3, keep their upper bits until the next mask.
        c0, c1, c2, c3 = (
            ((product1 >> 32) ^ c1).bitwise_xor_(k0).bitwise_and_(_WORD),
            product1,
            ((product0 >> 32) ^ c3).bitwise_xor_(k1).bitwise_and_(_WORD),
            product0,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1.bitwise_and_(_WORD), c2, c3.bitwise_and_(_WORD)


def _uniform53(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Returns the upper 53 of the 64 bits high || low, times 2^-53: in [0, 1), and exact in float64."""
    return (high << 21).bitwise_or_(low >> 11).to(torch.float64).mul_(2.0**-53)


def _two_words(key: bytes) -> tuple[int, int]:
    return int.from_bytes(key[0:4], "little"), int.from_bytes(key[4:8], "little")
