"""Compares the image of a certification with those that its prompt was tuned on, or its adapter trained on."""

from certrad.models.errors import Rejected
from certrad.models.types import AdapterCard, PromptCard
from certrad.workers.keys.epochs import EpochSecrets


def require_not_tuned_on(card: PromptCard | AdapterCard, input_sha256: str, epochs: EpochSecrets) -> None:
    """Checks that a prompt or an adapter was not made from this model input, as far as its card records the images.

    Args:
        card: The card of the prompt or of the adapter.
        input_sha256: SHA-256 of the float32 model input.
        epochs: The secrets of this engine.

    Raises:
        Rejected: image_was_tuned_on; engine_mismatch, if this engine lacks a secret that the card names.
    """
    if isinstance(card, PromptCard):
        name, made, recorded = f"prompt {card.id!r}", "tuned", card.tuned_on
    else:
        name, made, recorded = f"adapter {card.id!r}", "trained", card.trained_on
    if recorded is None:
        return
    found = input_sha256 in recorded.public
    for images in recorded.keyed:
        if (epoch := epochs.named(images.epoch_sha256)) is None:
            raise Rejected(
                "engine_mismatch",
                f"the images that {name} was {made} on are recorded under epoch secret {images.epoch_sha256}, which "
                f"this engine does not have: copy the secrets of the engine that {made} it",
            )
        found |= images.includes(epoch.secret, input_sha256)
    if found:
        raise Rejected("image_was_tuned_on", f"{name} was {made} on this model input")
