"""The facts of the images of a tuning that intake put into Redis for an engine."""

from dataclasses import dataclass, field

from certrad.models.types.noise_space import ImageMap
from certrad.models.types.request import ABSENT_IF_NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningImages:
    """The decoded images of a tuning, in the order of their indices: those to tune on, then those to validate with.

    Attributes:
        class_names: The names of the classes, in order.
        training_labels: Class of each image to tune on, as an index into `class_names`.
        validation_labels: Class of each image to validate with.
        images_sha256: SHA-256 of the bytes of all images, one after the other; 64 hexadecimal digits.
        image_map: How every image became its model input, where noise is to be added to the images themselves; None,
            and absent in JSON, where it is added to the model input.
    """

    class_names: tuple[str, ...]
    training_labels: tuple[int, ...]
    validation_labels: tuple[int, ...]
    images_sha256: str
    image_map: ImageMap | None = field(default=None, metadata=ABSENT_IF_NONE)

    @property
    def count(self) -> int:
        """Returns the number of images."""
        return len(self.training_labels) + len(self.validation_labels)
