"""AdvPT (ECCV 2024): prompts aligned with a bank of adversarial embeddings, made once, without labels or text.

Only the bank needs the image encoder; the trainer then learns the prompts from the bank's rows.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.attacks.pgd import PgdParams, attack, embedding_divergence
from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.training.trainer import FeatureSource
from certrad.models.randomness import seeded

EMBEDDING_BANK_BATCH: Final = 32
"""Images attacked together: an interrupted bank resumes at a multiple of it."""

_BANK: Final = "embeddings"


def embedding_bank(
    backbone: Backbone,
    images: Tensor,
    params: PgdParams,
    *,
    batch_size: int = EMBEDDING_BANK_BATCH,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Returns the embeddings (N, D) of adversarial versions of images, float32, not normalised.

    The same seed gives the same bank, bit for bit, on one machine.

    Args:
        backbone: the backbone.
        images: (N, 3, H, W) in [0, 1].
        params: settings of the attack.
        batch_size: images attacked together.
        on_batch: called with the number of images done.
    """
    rows = []
    for start in range(0, len(images), batch_size):
        rows.append(embedding_bank_rows(backbone, images, params, start, batch_size=batch_size))
        if on_batch:
            on_batch(min(start + batch_size, len(images)))
    return torch.cat(rows)


def embedding_bank_rows(
    backbone: Backbone, images: Tensor, params: PgdParams, start: int, *, batch_size: int = EMBEDDING_BANK_BATCH
) -> Tensor:
    """Returns the rows of the bank of one batch, which begins at image `start`, a multiple of `batch_size`.

    They depend on the images of the batch and on `start` alone, so a bank can be made in pieces.
    """
    batch = images[start : start + batch_size].to(backbone.device, torch.float32)
    with torch.no_grad():
        clean = backbone.encode_image(batch).float()
    adversarial = attack(backbone, batch, embedding_divergence(clean), params, seeded(params.seed, "bank", start))
    with torch.no_grad():
        return backbone.encode_image(adversarial).float().cpu()


def embedding_bank_sha256(backbone_sha256: str, images: Tensor, params: PgdParams | None) -> str:
    """Returns the key under which the rows of one batch are kept: a digest of weights, pixels and attack.

    Args:
        backbone_sha256: digest of the weights.
        images: (b, 3, H, W), the images attacked together.
        params: settings of the attack; None for the embeddings of the images as they are.
    """
    digest = hashlib.sha256(json.dumps([backbone_sha256, params and asdict(params), list(images.shape)]).encode())
    for image in images:
        digest.update(image.to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def embedding_bank_to_bytes(bank: Tensor) -> bytes:
    """Returns the embedding bank as a safetensors file."""
    content: bytes = save({_BANK: bank.contiguous()})
    return content


def embedding_bank_from_bytes(content: bytes) -> Tensor:
    """Returns the embedding bank in a safetensors file.

    Raises:
        Rejected: invalid_checkpoint where there is none.
    """
    try:
        bank: Tensor = load(content)[_BANK]
    except (SafetensorError, KeyError, ValueError) as error:
        raise Rejected(
            "invalid_checkpoint", f"the content is not an adversarial embedding bank: {type(error).__name__}"
        ) from error
    if bank.ndim != 2 or bank.dtype != torch.float32:
        raise Rejected(
            "invalid_checkpoint", f"the bank must be float32 of shape (N, D); got {bank.dtype} {tuple(bank.shape)}"
        )
    return bank


def embedding_bank_features(bank: Tensor) -> FeatureSource:
    """Returns the rows of the bank as a source of image features for `trainer.train_epochs`."""
    return lambda indices, _: bank[indices]
