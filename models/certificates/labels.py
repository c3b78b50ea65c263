"""The transcript of the estimation samples: every label in index order, as text and as the root of a Merkle tree."""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Final

from certrad.models.types.smoothing import N_MAX

_RUN: Final = re.compile(r"(0|[1-9][0-9]{0,4})\*([1-9][0-9]{0,6})")
_LABEL_MAX: Final = 0xFFFF
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def run_lengths(labels: Iterable[int]) -> str:
    """Returns labels in index order as text: `0*523 2*1 0*40` is 523 samples of label 0, one of label 2, 40 of label 0.

    Runs are as long as they can be and separated by one space, so that equal labels have equal texts.

    Args:
        labels: The labels.
    """
    return " ".join(f"{label}*{sum(1 for _ in run)}" for label, run in groupby(labels))


def parse_labels(text: str) -> list[int]:
    """Returns the labels that `run_lengths` wrote.

    Args:
        text: Runs such as `0*523`, separated by single spaces.

    Raises:
        ValueError: It is another text, or has a label above 65,535 or more than 1,000,000 labels.
    """
    labels: list[int] = []
    for run in text.split(" "):
        match = _RUN.fullmatch(run)
        if match is None:
            raise ValueError(f"labels must be runs such as 0*523, separated by single spaces; got {run[:20]!r}")
        label, length = int(match[1]), int(match[2])
        if label > _LABEL_MAX or len(labels) + length > N_MAX:
            raise ValueError(f"labels must be at most {_LABEL_MAX}, and {N_MAX} of them at most; got {run!r}")
        if labels and labels[-1] == label:
            raise ValueError(f"runs must be as long as they can be, got {run!r} after a run of the same label")
        labels += [label] * length
    return labels


def merkle_root(labels: Sequence[int]) -> str:
    """Returns the root of the Merkle tree over the labels in index order, in hexadecimal.

    The tree is that of RFC 6962, section 2.1, with SHA-256. A leaf is SHA-256(0x00 || label as little-endian uint16), a
    node SHA-256(0x01 || left || right); n leaves are split at the largest power of two below n. Pairing neighbours
    level by level, an odd last one going up as it is, builds that tree.

    Args:
        labels: The labels.
    """
    leaves = {label: sha256(_LEAF + label.to_bytes(2, "little")).digest() for label in set(labels)}
    level = [leaves[label] for label in labels]
    if not level:
        return sha256().hexdigest()
    while len(level) > 1:
        odd_one = level[len(level) & ~1 :]
        level = [sha256(_NODE + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)] + odd_one
    return level[0].hex()
