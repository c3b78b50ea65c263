"""The part of a classifier in a certificate document that says that noise is added to the rendered image."""

from dataclasses import asdict, dataclass
from typing import Literal

from certrad.models.types.cards import Fit
from certrad.models.types.identity import ClassifierIdentity
from certrad.models.types.noise_space import NoisyImage


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyImagePart:
    """Noise is added to the rendered image, and each noisy image is resized to a model input by itself.

    Attributes:
        kind: The kind of the part.
        image_sha256: SHA-256 of the part of the rendered image that the model input is made of.
        rows: Rows of that part.
        columns: Columns of that part.
        channels: Its channels, 1 or 3.
        of_rows: Rows of the whole rendered image.
        of_columns: Columns of the whole rendered image.
        fit: Whether the image is cropped to a square or padded to one.
    """

    kind: Literal["noisy_image/1"] = "noisy_image/1"
    image_sha256: str
    rows: int
    columns: int
    channels: Literal[1, 3]
    of_rows: int
    of_columns: int
    fit: Fit

    @staticmethod
    def of(identity: ClassifierIdentity) -> "tuple[NoisyImagePart, ...]":
        """Returns the part as a document lists it; nothing where noise is added to the model input.

        Args:
            identity: The classifier, by digest.
        """
        if (image := identity.noisy_image) is None:
            return ()
        return (NoisyImagePart(**asdict(image.map), image_sha256=image.sha256),)

    @property
    def named(self) -> NoisyImage:
        """Returns the image by shape and digest."""
        facts = {name: value for name, value in asdict(self).items() if name not in ("kind", "image_sha256")}
        return NoisyImage(**facts, sha256=self.image_sha256)
