"""Rewrites the card of the embedded backbone from the files in `models/demo`.

    python -m certrad.bench.demo.pin_embedded

To be run whenever the embedded weights were trained anew; a test fails until it was.
"""

from dataclasses import asdict, replace
from typing import Final

from certrad.models.backbones.base import EMBEDDED
from certrad.models.backbones.weights import file_sha256, read_config, write_json
from certrad.models.shipped import BACKBONE_CARDS, shipped_backbones
from certrad.models.types import BackboneCard

CARD: Final = BACKBONE_CARDS / "demo.json"


def card_of_files() -> BackboneCard:
    """The shipped card with digest, image size and normalisation as the files themselves have them."""
    card = shipped_backbones()["demo"]
    config = read_config(card, EMBEDDED)
    return replace(
        card,
        sha256=file_sha256(EMBEDDED / card.weights),
        image_size=config["model_cfg"]["vision_cfg"]["image_size"],
        mean=tuple(config["preprocess_cfg"]["mean"]),
        std=tuple(config["preprocess_cfg"]["std"]),
    )


if __name__ == "__main__":
    write_json(CARD, asdict(card_of_files()))
