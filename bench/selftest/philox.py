"""Philox in plain integers, a second implementation: what the noise laws compute is not compared with itself."""

from collections.abc import Sequence
from typing import Final

_ROUNDS: Final = 10
_MULTIPLIERS: Final = {32: (0xD2511F53, 0xCD9E8D57), 64: (0xD2E7470EE14C6C93, 0xCA5A826395121157)}
_WEYL: Final = {32: (0x9E3779B9, 0xBB67AE85), 64: (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)}


def philox4x(bits: int, counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Returns four words of Philox4x32-10 or Philox4x64-10 (Salmon et al. 2011).

    Args:
        bits: 32 or 64.
        counter: Four words, least significant first.
        key: Two words.
    """
    mask = (1 << bits) - 1
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[bits][0], c2 * _MULTIPLIERS[bits][1]
        c0, c1, c2, c3 = (second >> bits) ^ c1 ^ k0, second & mask, (first >> bits) ^ c3 ^ k1, first & mask
        k0, k1 = (k0 + _WEYL[bits][0]) & mask, (k1 + _WEYL[bits][1]) & mask
    return [c0, c1, c2, c3]
