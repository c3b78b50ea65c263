"""What decides the bits of a trained adapter: for its card, and for the state of a training that is continued."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from certrad.models.adapters.training.params import AdapterParams
from certrad.models.backbones.processor import processor_name

TRAINING_CODE: Final = ("models/adapters/training", "models/backbones", "models/randomness.py")
"""Files and packages under `certrad` that turn images, weights and hyper-parameters into an adapter."""


def training_identity(
    params: AdapterParams,
    *,
    backbone_sha256: str,
    data_sha256: str,
    device: torch.device,
    choice: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what must be the same for two trainings to give the same bits, and for a state to be continued.

    Args:
        params: The hyper-parameters.
        backbone_sha256: SHA-256 of the weights.
        data_sha256: SHA-256 over the images.
        device: The device that trains.
        choice: What the images were chosen and decoded by, such as the task and the limit.
    """
    return {
        **choice,
        **asdict(params),
        "backbone_sha256": backbone_sha256,
        "data_sha256": data_sha256,
        "torch": torch.__version__,
        "device": device.type,
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "code_sha256": training_code_sha256(),
    }


def training_record(identity: Mapping[str, Any], *, images: int, loss: float) -> dict[str, Any]:
    """Returns the record of a training for the card of its adapter.

    Args:
        identity: See `training_identity`.
        images: Number of images that were trained on.
        loss: Mean loss of the last steps.
    """
    known = {name: value for name, value in identity.items() if name != "backbone_sha256"}  # the card has it
    return {**known, "images": "without labels", "training_images": images, "loss": round(loss, 6)}


def training_code_sha256(root: Path | None = None) -> str:
    """Returns the SHA-256 over the names and sources of the code that trains adapters.

    Args:
        root: The folder of the package `certrad`; the installed one by default.
    """
    root = root or Path(__file__).parents[3]
    hasher = hashlib.sha256()
    for entry in TRAINING_CODE:
        path = root / entry
        for source in [path] if path.suffix == ".py" else sorted(path.rglob("*.py")):
            hasher.update(f"{source.relative_to(root).as_posix()}\0".encode())
            hasher.update(hashlib.sha256(source.read_bytes()).digest())
    return hasher.hexdigest()
