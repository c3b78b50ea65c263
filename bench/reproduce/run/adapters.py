"""The adapter of an image encoder, trained without labels on the images of a data set, resumed after a kill."""

import hashlib
import json
import time
from dataclasses import asdict
from typing import Final

import torch

from certrad.bench.reproduce.run.materials import Materials, inputs, listing_sha256
from certrad.models.adapters.checkpoint import read_adapter_card, save_adapter
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.record import training_identity, training_record
from certrad.models.adapters.training.trainer import train_adapter
from certrad.models.adapters.training.trainer_state import AdapterState
from certrad.models.backbones.base import Backbone
from certrad.models.datasets.split import Split
from certrad.models.files import replace_file
from certrad.models.images.input_digests import pool_sha256
from certrad.models.randomness import seeded
from certrad.models.types import AdapterCard

IMAGES: Final = 3_000
"""Training images of an adapter at most, at random; as many as `certrad adapt-encoder` takes."""


def trained_adapter(
    materials: Materials, backbone: Backbone, dataset: str, split: Split, params: AdapterParams
) -> AdapterCard:
    """The card of an adapter in the folder `adapters`; its training says the `seconds` it took.

    split: the training images; their labels are not looked at.
    """
    folder = materials.out / "adapters"
    folder.mkdir(parents=True, exist_ok=True)
    said = json.dumps([backbone.sha256, dataset, listing_sha256(split), asdict(params)])
    name = f"{dataset}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    for path in sorted(folder.glob(f"{name}-*.json")):
        return read_adapter_card(path)
    state_path, timed = folder / f"{name}.part", folder / f"{name}.seconds"
    before = float(timed.read_text()) if timed.exists() else 0.0
    started = time.perf_counter()
    order = torch.randperm(len(split), generator=seeded(params.seed, "adapter images"))[:IMAGES]
    images = inputs(split, order.tolist(), backbone.card)
    identity = training_identity(
        params,
        backbone_sha256=backbone.sha256,
        data_sha256=pool_sha256(images),
        device=backbone.device,
        choice={"dataset": dataset, "limit": IMAGES},
    )
    resume = AdapterState.from_bytes(state_path.read_bytes(), identity) if state_path.exists() else None
    for state in train_adapter(backbone, images, params, resume=resume):
        replace_file(timed, repr(before + time.perf_counter() - started).encode(), private=False)
        replace_file(state_path, state.to_bytes(identity), private=False)
    seconds = before + time.perf_counter() - started
    card = save_adapter(
        folder,
        state.low_rank(),
        state.replaced(),
        name=name,
        backbone=backbone,
        sigma_range=params.sigma_range,
        training=training_record(identity, images=len(images), loss=state.loss) | {"seconds": round(seconds, 3)},
    )
    state_path.unlink(missing_ok=True)
    timed.unlink(missing_ok=True)
    return card
