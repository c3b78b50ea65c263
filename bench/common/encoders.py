"""The image encoders that prompts were tuned on, each with the heads of its prompts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone
from certrad.models.classifier import TextHead
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.prompts.store import PromptStore
from certrad.models.shipped import SHIPPED_ADAPTERS
from certrad.models.types import TEMPLATE_PROMPT, TaskCard


def encoders(
    backbone: Backbone, task: TaskCard, prompts: Sequence[str], folder: Path
) -> Iterator[tuple[Backbone, Mapping[str, TextHead]]]:
    """Yields each image encoder that the prompts were tuned on, with the heads of its prompts."""
    store = PromptStore(own=folder)
    cards = {prompt: None if prompt == TEMPLATE_PROMPT else store.card(prompt) for prompt in prompts}
    adapters = AdapterStore(own=SHIPPED_ADAPTERS)
    for adapter in dict.fromkeys(None if card is None else card.adapter for card in cards.values()):
        encoder = backbone if adapter is None else adapted(backbone, adapters.load(adapters.card(adapter)))
        heads = {}
        for prompt, card in cards.items():
            if card is None and adapter is None:
                heads[prompt] = TextHead.of_template(encoder, task.class_names, task.template)
            elif card is not None and card.adapter == adapter:
                require_backbone(card, encoder)
                heads[prompt] = TextHead.of_prompt(encoder, card.answers, store.load(card))
        yield encoder, heads
