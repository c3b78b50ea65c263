"""Choice of the labelled images for tuning and for measuring, fixed before any is decoded.

Standard library only: the process that decodes images loads no torch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from certrad.models.errors import Rejected
from certrad.models.types.tuning import TuningParams

VALIDATION_PER_CLASS: Final = 50
"""The most images of a class on which accuracy is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenImages:
    """Indices of the images for tuning and for validation, class by class; no index is in both."""

    training: tuple[int, ...]
    validation: tuple[int, ...]


def choose_images(labels: Sequence[int], class_names: Sequence[str], params: TuningParams) -> ChosenImages:
    """Returns a choice of `params.shots` images of each class for tuning, all if it is None, and validation images.

    Validation images are among the rest. The choice depends on the labels, the shots and the seed alone.

    Args:
        labels: the class of every image, as an index into `class_names`; the images must be in an order that does not
            depend on the file system, such as sorted by name.
        class_names: the classes.
        params: shots and seed.

    Raises:
        Rejected: too_few_images for a class without an image, or with fewer images than the shots.
    """
    training: list[int] = []
    validation: list[int] = []
    for label, name in enumerate(class_names):
        images = [index for index, of_image in enumerate(labels) if of_image == label]
        shots = len(images) if params.shots is None else params.shots
        if not images or len(images) < shots:
            wanted = "at least 1 image" if params.shots is None else f"{shots} images (`shots`)"
            raise Rejected("too_few_images", f"class {name!r} needs {wanted}, got {len(images)}")
        shuffled = [images[place] for place in _permutation(len(images), f"{params.seed} {label}")]
        training += shuffled[:shots]
        validation += shuffled[shots : shots + VALIDATION_PER_CLASS]
    return ChosenImages(training=tuple(training), validation=tuple(validation))


def _permutation(size: int, purpose: str) -> list[int]:
    """Returns a permutation of 0..size-1 by the digests of the places: random for any use, and the same everywhere."""
    return sorted(range(size), key=lambda place: hashlib.sha256(f"{purpose} {place}".encode()).digest())
