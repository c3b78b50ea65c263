"""Trains the adapter of the demo's image encoder on MedNIST training images, without their labels, and saves it.

    python -m certrad.bench train-adapter --data mednist.zip

This made the shipped adapter. The training is that of `certrad adapt-encoder`. A run that was stopped goes on from the
file of `--state`.
"""

import argparse
from pathlib import Path

from certrad.bench.common.adapter_training import NAME, adapter_on_mednist, add_training
from certrad.bench.common.options import use_threads
from certrad.bench.demo.common import LICENCE, backbone_of, record_of
from certrad.models.adapters.checkpoint import save_adapter
from certrad.models.backbones.weights import file_sha256
from certrad.models.shipped import SHIPPED_ADAPTERS, shipped_backbones
from certrad.models.types import AdapterCard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, default=SHIPPED_ADAPTERS, help="folder of adapters")
    parser.add_argument("--name", default=NAME)
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    add_training(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train, save, and print the id."""
    use_threads(arguments)
    print(train(arguments).id)


def train(arguments: argparse.Namespace) -> AdapterCard:
    """Trains on the images that the seed chooses and saves the adapter with its card."""
    backbone = backbone_of(arguments)
    adapter, inputs = adapter_on_mednist(arguments, backbone)
    card = save_adapter(
        arguments.out,
        adapter.low_rank,
        adapter.replaced,
        name=arguments.name,
        backbone=backbone,
        sigma_range=adapter.card.sigma_range,
        licence=LICENCE.replace("Tuned", "Trained"),
        training={
            **adapter.card.training,
            "command": "python -m certrad.bench train-adapter",
            "data": "MedNIST, train split",
            "archive_sha256": file_sha256(arguments.data),
        },
        measured=adapter.card.measured,
        trained_on=record_of(inputs),
    )
    arguments.state.unlink()
    return card
