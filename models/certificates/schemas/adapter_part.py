"""The part of a classifier in a certificate document that names the adapter of its image encoder."""

from dataclasses import dataclass
from typing import Literal

from certrad.models.types.adapter_card import is_adapter_id
from certrad.models.types.identity import ClassifierIdentity, TuningImagesRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAdapter:
    """A trained change of the image encoder, merged into its weights before the first sample is drawn.

    Attributes:
        kind: The kind of the part.
        adapter: Id of the adapter, which follows from the SHA-256.
        adapter_sha256: SHA-256 of its file.
        training_images: Whether the images that it was trained on are recorded.
    """

    kind: Literal["image_adapter/1"] = "image_adapter/1"
    adapter: str
    adapter_sha256: str
    training_images: TuningImagesRecord

    def __post_init__(self) -> None:
        if not is_adapter_id(self.adapter, self.adapter_sha256):
            raise ValueError(f"the id must end with the first 16 digits of its SHA-256, got {self.adapter!r}")

    @staticmethod
    def of(identity: ClassifierIdentity) -> "tuple[ImageAdapter, ...]":
        """Returns the part of a classifier; none for the frozen encoder.

        Args:
            identity: The classifier, by digest.
        """
        adapter, sha256, images = identity.adapter, identity.adapter_sha256, identity.adapter_images
        if adapter is None or sha256 is None or images is None:  # all or none, as the identity checks
            return ()
        return (ImageAdapter(adapter=adapter, adapter_sha256=sha256, training_images=images),)
