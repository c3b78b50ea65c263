"""AES-128 in plain integers, a second implementation: what a noise law draws is not compared with itself."""

from functools import cache
from typing import Final

_BLOCK: Final = 16
_ROUNDS: Final = 10


def encrypt(key: bytes, block: bytes) -> bytes:
    """Returns a block of 16 bytes encrypted by AES-128 (FIPS 197, 5.1).

    Args:
        key: 16 bytes.
        block: 16 bytes.
    """
    state, round_keys = _xor(block, key), _expand(key)
    for number, round_key in enumerate(round_keys[1:], start=1):
        # SubBytes and ShiftRows: row r of the four columns moves r columns to the left.
        state = bytes(_s_box()[state[(place + 4 * (place % 4)) % _BLOCK]] for place in range(_BLOCK))
        if number < _ROUNDS:
            state = b"".join(_mix(state[at : at + 4]) for at in range(0, _BLOCK, 4))
        state = _xor(state, round_key)
    return state


def _expand(key: bytes) -> list[bytes]:
    words, constant = [key[at : at + 4] for at in range(0, _BLOCK, 4)], 1
    while len(words) < 4 * (_ROUNDS + 1):
        word = words[-1]
        if len(words) % 4 == 0:
            turned = bytes(_s_box()[byte] for byte in word[1:] + word[:1])
            word = bytes((turned[0] ^ constant, *turned[1:]))
            constant = _double(constant)
        words.append(_xor(words[-4], word))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _mix(column: bytes) -> bytes:
    together = column[0] ^ column[1] ^ column[2] ^ column[3]
    return bytes(column[row] ^ together ^ _double(column[row] ^ column[(row + 1) % 4]) for row in range(4))


@cache
def _s_box() -> bytes:
    """Returns the substitution of every byte: its inverse in GF(2^8), then the affine map of FIPS 197, 5.1.1."""
    inverse = [0] * 256
    for byte in range(1, 256):
        inverse[byte] = next(other for other in range(1, 256) if _multiply(byte, other) == 1)
    substituted = []
    for byte in inverse:
        turned = byte
        for shift in range(1, 5):
            turned ^= (byte << shift | byte >> (8 - shift)) & 0xFF
        substituted.append(turned ^ 0x63)
    return bytes(substituted)


def _multiply(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a, b = _double(a), b >> 1
    return product


def _double(byte: int) -> int:
    return (byte << 1 ^ (0x11B if byte & 0x80 else 0)) & 0xFF


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
