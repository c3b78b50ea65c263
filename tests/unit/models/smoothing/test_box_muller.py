"""The portable Box-Muller transform: as accurate as its error budget says, and the same bits everywhere."""

import hashlib
from typing import Final

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.smoothing.box_muller import CHUNK, BoxMuller

UNIT: Final = 2.0**-53
PROVED: Final = 14  # units of u r, in the docstring of BoxMuller
MEASURED: Final = 6


def transformed(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    normals = np.empty(words.shape)
    BoxMuller().transform(words, normals)
    return normals


def random_words(pairs: int) -> NDArray[np.uint64]:
    return np.random.default_rng(5).integers(0, 2**64, (pairs, 2), dtype=np.uint64)


def words_of(first: int, second: int) -> NDArray[np.uint64]:
    """Two words whose upper 53 bits are given; their other bits must not matter."""
    return np.array([[first << 11 | 0x7FF, second << 11 | 0x2A5]], dtype=np.uint64)


def errors_in_units(words: NDArray[np.uint64]) -> list[float]:
    """How far each normal is from the exact one, in units of u r."""
    errors: list[float] = []
    with mpmath.workdps(40):
        for pair, drawn in zip(words.tolist(), transformed(words).tolist(), strict=True):
            r = mpmath.sqrt(-2 * mpmath.log(mpmath.mpf((pair[0] >> 11) + 1) / 2**53))
            angle = 2 * mpmath.pi * (pair[1] >> 11) / 2**53
            for exact, found in zip((r * mpmath.cos(angle), r * mpmath.sin(angle)), drawn, strict=True):
                errors.append(float(abs(exact - found) / (r * UNIT)) if r else abs(found))
    return errors


def test_normals_are_within_the_proved_error_of_the_exact_ones() -> None:
    worst = max(errors_in_units(random_words(3_000)))
    assert worst < MEASURED < PROVED


@pytest.mark.parametrize("first", [0, 1, 2**52 - 1, 2**52, 2**52 + 1, 6369051672525772, 6369051672525773, 2**53 - 2])
@pytest.mark.parametrize("second", [0, 1, 2**50, 2**51 - 1, 2**51, 2**51 + 1, 2**52, 3 * 2**51, 2**53 - 1])
def test_normals_where_the_formulas_change_are_within_the_proved_error(first: int, second: int) -> None:
    """Around u1 = 2^-53, 1/2, sqrt(1/2) and 1, and around every eighth of the circle."""
    assert max(errors_in_units(words_of(first, second))) < PROVED


def test_the_largest_first_word_gives_zero_normals() -> None:
    assert transformed(words_of(2**53 - 1, 2**51 + 12345)).tolist() == [[0.0, 0.0]]


def test_the_smallest_first_word_gives_the_largest_normal() -> None:
    assert transformed(words_of(0, 0))[0, 0] == pytest.approx(8.571674348652905, rel=1e-15)


def test_a_pair_has_the_same_bits_alone_and_among_others() -> None:
    words = random_words(CHUNK)
    together = transformed(words)
    for place in (0, 1, 7, CHUNK // 2, CHUNK - 1):
        assert transformed(words[place : place + 1]).tobytes() == together[place : place + 1].tobytes()


def test_the_bits_are_those_of_every_machine() -> None:
    """Sums, products, quotients and roots of IEEE 754 leave no choice: the digest is over all 64 bits."""
    digest = hashlib.sha256(transformed(random_words(CHUNK)).astype("<f8").tobytes()).hexdigest()
    assert digest == "bd507c17022077870811e70241deca450593cc7b41a85745cd9415cd43ff052f"
