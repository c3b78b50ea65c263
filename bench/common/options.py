"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from certrad.models.backbones.device import DTYPES


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Declare the option of the image encoder's precision."""
    parser.add_argument(
        "--dtype", choices=("auto", *DTYPES), default="auto", help="of the image encoder; auto: bfloat16 if in hardware"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Declare the option of the number of threads."""
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")


def use_threads(arguments: argparse.Namespace) -> None:
    """Let torch compute in as many threads as were asked for."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)


@contextmanager
def threads_of_torch(number: int) -> Iterator[None]:
    """Lets torch compute in that many threads, and afterwards in as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Declare the options of certificates at a fixed n: samples, seed, precision and threads."""
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    add_threads(parser)
