"""The DnCNN of each sigma for Denoised Smoothing, trained on the images of a data set, resumed after a kill."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict

from torch import Tensor

from certrad.bench.reproduce.run.materials import Materials, inputs, listing_sha256
from certrad.models.baselines.denoiser_training import DenoiserParams, DenoiserState, train
from certrad.models.datasets.split import Split
from certrad.models.defences.denoiser import DenoiserCard, save_denoiser
from certrad.models.defences.model_files import read_model_config
from certrad.models.files import replace_file
from certrad.models.types import BackboneCard


def trained_denoisers(
    materials: Materials, card: BackboneCard, dataset: str, split: Split, sigmas: Sequence[float], seed: int
) -> tuple[tuple[float, DenoiserCard], ...]:
    """The card of a denoiser for each sigma. split: the training images, in the size of the backbone."""
    return tuple(
        (sigma, trained_denoiser(materials, card, dataset, split, DenoiserParams(sigma=sigma, seed=seed)))
        for sigma in sigmas
    )


def trained_denoiser(
    materials: Materials, card: BackboneCard, dataset: str, split: Split, params: DenoiserParams
) -> DenoiserCard:
    """The card of a denoiser in the folder `denoisers`; its training says the `seconds` it took.

    The digest is that of the names and labels of the images; no classifier has a part in the objective `mse`.
    """
    folder = materials.out / "denoisers"
    folder.mkdir(parents=True, exist_ok=True)
    said = json.dumps([card.image_size, card.fit, dataset, listing_sha256(split), asdict(params)])
    name = f"{dataset}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    for path in folder.glob(f"{name}-*.json"):
        return DenoiserCard(**read_model_config(folder, path.name))
    state_path, timed = folder / f"{name}.part", folder / f"{name}.seconds"
    before = float(timed.read_text()) if timed.exists() else 0.0
    started = time.perf_counter()

    def images(indices: Tensor) -> Tensor:
        return inputs(split, indices.tolist(), card)

    def keep(state: DenoiserState) -> None:
        replace_file(timed, repr(before + time.perf_counter() - started).encode(), private=False)
        replace_file(state_path, state.to_bytes(), private=False)

    resume = DenoiserState.from_bytes(state_path.read_bytes()) if state_path.exists() else None
    model = train(images, len(split), params, device=materials.device, resume=resume, on_epoch=keep)
    training = {
        **asdict(params),
        "images": len(split),
        "listing_sha256": listing_sha256(split),
        "classifier_sha256": None,
        "seconds": before + time.perf_counter() - started,
    }
    saved = save_denoiser(folder, model, name=name, sigma=params.sigma, training=training)
    state_path.unlink(missing_ok=True)
    timed.unlink(missing_ok=True)
    return saved
