"""Compares the image of a certification with those that its prompt was tuned on."""

from certrad.models.errors import Rejected
from certrad.models.types import PromptCard
from certrad.workers.keys.epochs import EpochSecrets


def require_not_tuned_on(card: PromptCard | None, input_sha256: str, epochs: EpochSecrets) -> None:
    """Checks that the prompt was not tuned on the image, as far as its card records the images.

    Args:
        card: The card of the prompt; None for a hand-written template, which was tuned on nothing.
        input_sha256: SHA-256 of the float32 model input.
        epochs: The secrets of this engine.

    Raises:
        Rejected: image_was_tuned_on; engine_mismatch, if this engine lacks a secret that the card names.
    """
    if card is None or (recorded := card.tuned_on) is None:
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


def record_warnings(card: PromptCard | None) -> list[str]:
    """Returns the sentence for a reader of a certificate whose prompt does not record all its images, or nothing.

    Args:
        card: The card of the prompt; None for a hand-written template.
    """
    if card is None or (card.tuned_on is not None and card.tuned_on.complete):
        return []
    which = "The" if card.tuned_on is None else "Some of the"
    return [
        f"{which} images that the prompt was tuned on are not recorded, so that the service could not check whether "
        "this image is one of them."
    ]
