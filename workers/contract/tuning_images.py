"""What intake tells engines of the images of a tuning that it left in Redis."""

from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftImages:
    """The images that were left for an engine, in the order of their indices: those to tune on, then the others.

    training_labels, validation_labels: the class of each, as an index into `class_names`.
    images_sha256: SHA-256 of all of their bytes.
    """

    class_names: tuple[str, ...]
    training_labels: tuple[int, ...]
    validation_labels: tuple[int, ...]
    images_sha256: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.training_labels) + len(self.validation_labels)


LEFT: Final = TypeAdapter(LeftImages)
