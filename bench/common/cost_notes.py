"""The remarks that a reader of `bench certify-cost` must not miss."""

import argparse

from certrad.bench.common.machine import Machine
from certrad.models.types import SmoothingParams


def notes(arguments: argparse.Namespace, machine: Machine, total: int, bare: int, plain: int) -> list[str]:
    """Returns the remarks that a reader of the figures must not miss."""
    found = []
    if arguments.random_weights:
        found.append("random weights of the true architecture: the times are real, the answers are not")
    if bare != total:
        found.append(f"bare encoder passes measured on {bare} samples and scaled to {total}")
    if plain != total:
        found.append(f"plain loop measured on {plain} samples and scaled to {total}")
    if arguments.n < SmoothingParams().n:
        found.append(f"n = {arguments.n}, not the default {SmoothingParams().n}")
    if not machine.has_bf16:
        found.append("this processor has no bfloat16 instructions")
    return found
