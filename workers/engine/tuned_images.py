"""Compares the image of a certification with those that its prompt was tuned on."""

from certrad.models.errors import Rejected
from certrad.models.types import PromptCard
from certrad.workers.keys.epochs import EpochSecrets


def require_not_tuned_on(card: PromptCard, input_sha256: str, epochs: EpochSecrets) -> None:
    """Checks that the prompt was not tuned on the image, as far as its card records the images.

    Args:
        card: The card of the prompt.
        input_sha256: SHA-256 of the float32 model input.
        epochs: The secrets of this engine.

    Raises:
        Rejected: image_was_tuned_on; engine_mismatch, if this engine lacks a secret that the card names.
    """
    if (recorded := card.tuned_on) is None:
        return
    found = input_sha256 in recorded.public
    for images in recorded.keyed:
        if (epoch := epochs.named(images.epoch_sha256)) is None:
            raise Rejected(
                "engine_mismatch",
                f"the images that prompt {card.id!r} was tuned on are recorded under epoch secret "
                f"{images.epoch_sha256}, which this engine does not have: copy the secrets of the engine that tuned it",
            )
        found |= images.includes(epoch.secret, input_sha256)
    if found:
        raise Rejected("image_was_tuned_on", f"prompt {card.id!r} was tuned on this image")
