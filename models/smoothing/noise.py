"""Gaussian noise as a pure function of (key, stream, sample index), by a named law that anyone can replay."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, get_args

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from certrad.models.smoothing.box_muller import CHUNK, BoxMuller
from certrad.models.types import NoiseLaw
from certrad.models.types.pixels import WHITE

KEY_BYTES: Final = 32

GRID: Final = WHITE
"""Noisy pixels lie on the grid k / 255, k an integer of any sign."""

_CPU_STEP: Final = 1 << 18  # normals drawn at once: the int64 temporaries of Philox stay in the cache
_DEVICE_STEP: Final = 1 << 24  # enough to hide the launches of a hundred kernels; 64 MB a temporary
_WORD: Final = 0xFFFFFFFF
_AES_BLOCK: Final = 16  # bytes: the words of one pair of normals
_AES_COUNTER_BYTES: Final = 6  # of the counter block; the rest of it is index and stream


class Stream(IntEnum):
    """The purpose of the noise; the streams of one key are independent. Values are part of the law."""

    ADAPT = 0
    SELECT = 1
    ESTIMATE = 2
    PREDICT = 3


class ParameterStream(IntEnum):
    """The purpose of noise on parameters of the rendering: the stream of the pixels, plus 4. A part of the law too."""

    SELECT = 5
    ESTIMATE = 6
    PREDICT = 7


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard normal noise for one certificate.

    Attributes:
        key: 32 bytes, see `noise_key`.
        law: `philox-ziggurat-f64` or `aes128ctr-boxmuller-f64`, drawn on the CPU, or `philox-boxmuller-f64`, drawn by
            torch on any device.
    """

    key: bytes
    law: NoiseLaw = "philox-ziggurat-f64"

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"the noise key must have {KEY_BYTES} bytes, got {len(self.key)}")
        if self.law not in get_args(NoiseLaw):
            raise ValueError(f"the noise law must be one of {', '.join(get_args(NoiseLaw))}; got {self.law!r}")

    def standard_normal(
        self, stream: Stream | ParameterStream, index: int, shape: Sequence[int]
    ) -> NDArray[np.float64]:
        """Returns the noise of sample `index` of `stream`, float64, on the CPU.

        Args:
            stream: What the noise is for.
            index: The sample.
            shape: Shape of the noise.
        """
        d, indices = math.prod(shape), range(index, index + 1)
        if self.law in CPU_LAWS:
            return next(CPU_LAWS[self.law](self.key, stream, indices, d)).reshape(shape)
        flat: NDArray[np.float64] = boxmuller(self.key, stream, indices, d, torch.device("cpu")).numpy()
        return flat.reshape(shape)


def ziggurat(key: bytes, stream: Stream | ParameterStream, indices: range, d: int) -> Iterator[NDArray[np.float64]]:
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


def aes_boxmuller(
    key: bytes, stream: Stream | ParameterStream, indices: range, d: int
) -> Iterator[NDArray[np.float64]]:
    """Yields the d normals of each sample in turn by the law `aes128ctr-boxmuller-f64`, float64, in the same memory.

    The words are the keystream of AES-128 in counter mode (NIST SP 800-38A, 6.5) with key = the first 16 bytes and the
    first counter block = index, 8 bytes, || stream, 2 bytes, || 6 zero bytes, big-endian. Block `pair` of it, as two
    little-endian words of 64 bits, makes u1 = (v + 1) 2^-53 and u2 = v' 2^-53 with their upper 53 bits v and v', and
    these make normals 2 pair and 2 pair + 1 as in `boxmuller`. Anyone draws the words again by
    `openssl enc -aes-128-ctr -K KEY -iv BLOCK` of zero bytes.

    Behind the words, the bits of a normal are the same on every machine, for any number of threads, and whatever is
    drawn before or beside it: see `BoxMuller`.

    Args:
        key: 32 bytes.
        stream: What the noise is for.
        indices: The samples.
        d: Normals of each sample.

    Raises:
        ValueError: The counter of a sample would run into its stream: d is above 2^49.
    """
    pairs, box_muller = (d + 1) // 2, BoxMuller()
    if pairs > 1 << 8 * _AES_COUNTER_BYTES:
        raise ValueError(f"a sample of {d} normals needs more blocks than its counter has")
    zeros, keystream = memoryview(bytes(_AES_BLOCK * CHUNK)), bytearray(_AES_BLOCK * (CHUNK + 1))
    words = np.frombuffer(keystream, dtype="<u8", count=2 * CHUNK).reshape(CHUNK, 2)
    normals = np.empty((pairs, 2))
    for index in indices:
        block = index.to_bytes(8, "big") + int(stream).to_bytes(2, "big") + bytes(_AES_COUNTER_BYTES)
        cipher = Cipher(algorithms.AES(key[:_AES_BLOCK]), modes.CTR(block)).encryptor()
        for start in range(0, pairs, CHUNK):
            out = normals[start : start + CHUNK]
            cipher.update_into(zeros[: _AES_BLOCK * len(out)], keystream)
            box_muller.transform(words[: len(out)], out)
        yield normals.reshape(-1)[:d]


CPU_LAWS: Final[
    Mapping[NoiseLaw, Callable[[bytes, Stream | ParameterStream, range, int], Iterator[NDArray[np.float64]]]]
] = {
    "philox-ziggurat-f64": ziggurat,
    "aes128ctr-boxmuller-f64": aes_boxmuller,
}
"""The laws that are drawn on the CPU, sample by sample; `philox-boxmuller-f64` is drawn on the device, many at once."""


def boxmuller(
    key: bytes, stream: Stream | ParameterStream, indices: range, d: int, device: torch.device
) -> torch.Tensor:
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
        words = philox4x32((pairs[None, :], zero, index, zero + int(stream)), two_words(key))
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


def two_words(key: bytes) -> tuple[int, int]:
    """Returns the two words of the key of Philox4x32-10: the first 8 bytes of a noise key, little-endian.

    Args:
        key: 32 bytes.
    """
    return int.from_bytes(key[0:4], "little"), int.from_bytes(key[4:8], "little")
