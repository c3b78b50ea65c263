"""The materials of a run: data sets, backbones and other weights on disk, and the folder of its results."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import DTYPES
from certrad.models.backbones.weights import file_sha256, find_weights, pinned, read_tensors
from certrad.models.datasets.sample import SplitName, balanced_sample
from certrad.models.datasets.split import Split, load_split, model_inputs
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones, shipped_datasets
from certrad.models.types import BackboneCard
from certrad.workers.intake.file_decoding import decode_published

READ_TOGETHER: Final = 64
WEIGHT_SUFFIXES: Final = frozenset({".safetensors", ".bin", ".pth"})


class Missing(Rejected):
    """Weights or a data set that a row needs and that are not here; `needs` names them."""

    def __init__(self, code: str, detail: str, needs: str) -> None:
        super().__init__(code, detail)
        self.needs = needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Folders and precision; small enough to be sent to every process.

    data: a folder for all data sets, or the data set itself. backbones: a folder of fetched backbones; other weights
        lie in it as well: `diffusion`, `super-resolution`, `resnet50`. out: results, prompts, journals.
    dtype: of the image encoder where noisy copies are counted; gradients and training take float32.
    """

    data: Path
    backbones: Path
    out: Path
    device: str = "cpu"
    dtype: str = "float32"
    processes: int = 1

    def split(self, dataset: str, part: SplitName) -> Split:
        """Returns one split of a data set; raises Missing with the file that is missing."""
        try:
            return load_split(shipped_datasets()[dataset], self.data, part, decode=decode_published)
        except Rejected as rejected:
            if rejected.code != "dataset_unavailable":
                raise
            raise Missing(rejected.code, rejected.detail, f"data set {dataset}") from rejected

    def pair(self, backbone_id: str, dataset: str) -> tuple[Backbone, Split]:
        """A trained backbone and the test images; raises Missing that names both where both are missing."""
        try:
            test = self.split(dataset, "test")
        except Missing as data:
            card = shipped_backbones()[backbone_id]
            try:
                require_trained(card, weights_directory(card, self.backbones))
            except Missing as weights:
                both = (f"{weights.detail}; {data.detail}", f"{weights.needs} and {data.needs}")
                raise Missing(weights.code, *both) from data
            raise
        return self.backbone(backbone_id), test

    def backbone(self, backbone_id: str, *, sampling: bool = False) -> Backbone:
        """A trained backbone; raises Rejected with what to do where there is none. sampling: in `dtype`."""
        card = shipped_backbones()[backbone_id]
        directory = weights_directory(card, self.backbones)
        require_trained(card, directory)
        return load_backbone(
            card, directory, device=self.device, dtype=DTYPES[self.dtype] if sampling else torch.float32
        )

    def weights(self, name: str) -> Path:
        """The folder of weights that are no backbone's.

        Raises `model_unavailable` where there is none, `invalid_weights` for untrained ones.
        """
        folder = self.backbones / name
        if not folder.is_dir():
            raise Missing("model_unavailable", f"the weights of {name} are expected in {folder}", f"weights of {name}")
        for path in sorted(folder.rglob("*")):
            if path.suffix in WEIGHT_SUFFIXES:
                refuse_untrained(name, path)
        return folder

    def weights_sha256(self, name: str) -> str:
        """SHA-256 over the files that make the model of that name what it is; raises Missing as `weights` does."""
        folder = self.weights(name)
        files = sorted(path for path in folder.rglob("*") if path.suffix in WEIGHT_SUFFIXES | {".json"})
        return joined_sha256([f"{path.relative_to(folder)} {file_sha256(path)}" for path in files])

    def has_weights(self, name: str) -> bool:
        """Returns whether there are weights of that name."""
        return (self.backbones / name).is_dir()


def require_trained(card: BackboneCard, directory: Path) -> None:
    """Raises `backbone_unavailable` unless the weights have a pinned digest, `invalid_weights` for untrained ones.

    Random weights never make a row; a digest is pinned by `certrad fetch` only.
    """
    needs, fetch = f"weights of {card.id}", f"(`certrad fetch {card.id}`)"
    try:
        weights = find_weights(pinned(card, directory), directory)
    except Rejected as rejected:
        raise Missing("backbone_unavailable", f"the {needs} {fetch}", needs) from rejected
    if pinned(card, directory).sha256 is None:
        raise Missing("backbone_unavailable", f"{needs} with a pinned digest {fetch}", needs)
    refuse_untrained(card.id, weights)


def refuse_untrained(name: str, path: Path) -> None:
    """Raises `invalid_weights` where every scale of a normalisation is exactly one, as it is before training."""
    scales = [
        tensor
        for key, tensor in read_tensors(path).items()
        if key.endswith(".weight") and tensor.ndim == 1 and tensor.is_floating_point()
    ]
    if scales and all(bool((scale == 1).all()) for scale in scales):
        needs = f"trained weights of {name}"
        raise Missing("invalid_weights", f"{needs}: those in {path.name} were never trained", needs)


def test_images(split: Split, images: int | None, seed: int) -> list[int]:
    """Indices of the test images: a balanced random choice, or all in their order; a larger one begins with a smaller.

    images: as many or, where the split has fewer, all of it.
    """
    if images is None:
        return list(range(len(split)))
    return balanced_sample(split.labels, len(split.class_names), min(images, len(split)), seed)


def inputs(split: Split, indices: Sequence[int], card: BackboneCard) -> Tensor:
    """Pixels (N, 3, S, S) of some images, float32 in [0, 1]."""
    return model_inputs(split, indices, card)


def listing_sha256(split: Split) -> str:
    """SHA-256 of what a split lists: classes, template, the names of the images and their labels; not their pixels."""
    said = json.dumps([split.class_names, split.template, [(item.name, item.label) for item in split.items]])
    return hashlib.sha256(said.encode()).hexdigest()


def pixels_sha256(image: Tensor) -> str:
    """SHA-256 of one image (3, S, S) as it enters the backbone."""
    return hashlib.sha256(np.ascontiguousarray(image.numpy(), dtype="<f4").tobytes()).hexdigest()


def joined_sha256(digests: Sequence[str]) -> str:
    """One digest of several, in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
