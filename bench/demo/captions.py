"""Captions for MedNIST images: what can be said of an image, and sentences that say a part of it.

A caption states some facts and leaves the others open. It therefore fits every image that shares the stated facts,
and `matches` tells which; images that a caption fits are never its negatives in the contrastive loss.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from certrad.bench.demo.augmentation import AugmentedBatch

OPEN: Final = -1
"""The value of a fact that a caption leaves open."""

FACTS: Final = ("class", "modality", "region", "brightness", "contrast", "orientation", "zoom", "filling")

_MODALITY_OF_CLASS: Final = torch.tensor([0, 1, 2, 0, 2, 0])
_REGION_OF_CLASS: Final = torch.tensor([0, 1, 2, 2, 3, 4])

_CLASS_SUBJECTS: Final = (
    ("abdomen CT", "abdominal CT", "CT of the abdomen", "computed tomography of the abdomen", "belly CT scan",
     "abdominal CT slice", "axial slice through the abdomen", "liver and bowel on CT"),
    ("breast MRI", "MRI of the breast", "magnetic resonance image of the breast", "breast MR scan", "mammary MRI",
     "MR mammography", "breast tissue on MRI"),
    ("chest X-ray", "chest radiograph", "X-ray of the chest", "CXR", "plain film of the chest", "thoracic X-ray",
     "lungs and ribs on X-ray", "frontal chest film"),
    ("chest CT", "CT of the chest", "thoracic CT", "computed tomography of the thorax", "chest CT slice",
     "axial slice through the lungs", "lung CT scan"),
    ("hand X-ray", "X-ray of the hand", "hand radiograph", "plain film of the hand", "bones of the hand on X-ray",
     "fingers and wrist on X-ray", "bone age radiograph"),
    ("head CT", "CT of the head", "cranial CT", "brain CT scan", "computed tomography of the skull",
     "axial slice through the brain", "head CT slice"),
)  # fmt: skip
_MODALITY_SUBJECTS: Final = (
    ("CT", "CT scan", "computed tomography", "axial CT slice", "tomographic slice"),
    ("MRI", "MR image", "magnetic resonance image", "MRI scan"),
    ("X-ray", "radiograph", "plain film", "X-ray film", "projection radiograph"),
)
_REGION_SUBJECTS: Final = (
    ("the abdomen", "the belly", "abdominal organs"),
    ("the breast", "breast tissue"),
    ("the chest", "the thorax", "the lungs", "the rib cage"),
    ("the hand", "the fingers and the wrist", "hand bones"),
    ("the head", "the brain", "the skull"),
)
_OPEN_SUBJECTS: Final = ("a patient", "anatomy", "a body part", "the body", "tissue")

_ADJECTIVES: Final = {
    "brightness": (
        ("dark", "dim", "underexposed"),
        ("medium-bright", "evenly lit"),
        ("bright", "light", "overexposed"),
    ),
    "contrast": (("low-contrast", "flat", "faint"), ("medium-contrast", "balanced"), ("high-contrast", "stark")),
}
_ADDITIONS: Final = {
    "orientation": (
        ("upright", "in normal orientation"),
        ("turned a quarter to one side", "rotated by 90 degrees"),
        ("upside down", "rotated by 180 degrees"),
        ("turned a quarter to the other side", "rotated by 270 degrees"),
    ),
    "zoom": (
        ("seen up close", "magnified"),
        ("slightly cropped", "a little enlarged"),
        ("in full view", "not cropped"),
    ),
    "filling": (
        ("on a large black background", "surrounded by black"),
        ("with a dark margin", "with some black around it"),
        ("filling the frame", "without black margin"),
    ),
}
_TEMPLATES: Final = (
    "{adjectives}{subject}{additions}.",
    "a medical image of {adjectives}{subject}{additions}.",
    "an image of {adjectives}{subject}{additions}.",
    "a scan of {adjectives}{subject}{additions}.",
    "a picture showing {adjectives}{subject}{additions}.",
    "this study shows {adjectives}{subject}{additions}.",
    "radiology image, {adjectives}{subject}{additions}.",
    "a grey image: {adjectives}{subject}{additions}.",
    "one example of {adjectives}{subject}{additions}.",
    "a view of {adjectives}{subject}{additions}.",
)


@dataclass(frozen=True)
class CaptionConfig:
    """Frequencies of the parts of a caption."""

    subject_weights: tuple[float, float, float, float] = (0.7, 0.1, 0.1, 0.1)
    """Weights of naming the class, only the modality, only the region, or neither."""
    stated_attributes: tuple[float, float, float] = (0.4, 0.4, 0.2)
    """Weights of stating none, one or two further facts; a caption without a subject states at least one."""


@dataclass(frozen=True)
class Caption:
    """A sentence and the facts it states."""

    text: str
    stated: dict[str, int] = field(default_factory=dict)


def measure_facts(batch: AugmentedBatch, labels: Tensor) -> Tensor:
    """Returns the value of every fact for every image, shape (n, len(FACTS)), columns in the order of `FACTS`."""
    pixels = batch.images.flatten(1)
    columns = (
        labels,
        _MODALITY_OF_CLASS[labels],
        _REGION_OF_CLASS[labels],
        _grade(pixels.mean(1), 0.29, 0.49),
        _grade(pixels.std(1), 0.13, 0.25),
        batch.turns,
        _grade(batch.zoom, 0.73, 0.87),
        _grade((pixels > 0.08).float().mean(1), 0.7, 0.97),
    )
    return torch.stack(columns, 1)


def compose(facts: Sequence[int], config: CaptionConfig, rng: random.Random) -> Caption:
    """Returns a random true sentence about an image with these facts (values in the order of `FACTS`)."""
    known = dict(zip(FACTS, facts, strict=True))
    kind = rng.choices(("class", "modality", "region", None), config.subject_weights)[0]
    count = rng.choices((0, 1, 2), config.stated_attributes)[0]
    attributes = rng.sample([*_ADJECTIVES, *_ADDITIONS], count if kind else max(count, 1))
    adjectives = [rng.choice(_ADJECTIVES[name][known[name]]) for name in attributes if name in _ADJECTIVES]
    additions = [rng.choice(_ADDITIONS[name][known[name]]) for name in attributes if name in _ADDITIONS]
    text = rng.choice(_TEMPLATES).format(
        adjectives="".join(f"{word} " for word in adjectives),
        subject=_subject(kind, known, rng),
        additions="".join(f", {words}" for words in additions),
    )
    stated = attributes if kind is None else [kind, *attributes]
    return Caption(text, {name: known[name] for name in stated})


def matches(captions: Sequence[Caption], facts: Tensor) -> Tensor:
    """Returns which caption fits which image: a boolean tensor of shape (captions, images)."""
    stated = torch.tensor([[caption.stated.get(name, OPEN) for name in FACTS] for caption in captions])
    agrees = (stated.unsqueeze(1) == OPEN) | (stated.unsqueeze(1) == facts.unsqueeze(0))
    return agrees.all(dim=2)


def _subject(kind: str | None, known: dict[str, int], rng: random.Random) -> str:
    if kind == "class":
        return rng.choice(_CLASS_SUBJECTS[known["class"]])
    if kind == "modality":
        return rng.choice(_MODALITY_SUBJECTS[known["modality"]])
    if kind == "region":
        return rng.choice(_REGION_SUBJECTS[known["region"]])
    return rng.choice(_OPEN_SUBJECTS)


def _grade(values: Tensor, low: float, high: float) -> Tensor:
    return (values >= low).long() + (values >= high).long()
