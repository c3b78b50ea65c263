"""The cards of evidence: of the task, its backbone, its prompts, and the adapters of image encoders."""

from collections.abc import Iterable
from dataclasses import asdict

from certrad.models.adapters.store import AdapterStore
from certrad.models.certificates.canonical import canonical
from certrad.models.errors import Rejected
from certrad.models.installed import Cards
from certrad.models.types import AdapterCard, PromptCard, TaskCard
from certrad.models.types.codec import encode_card
from certrad.workers.offline.evidence.parts import GatheredEvidence


def add_cards(evidence: GatheredEvidence, task: TaskCard, cards: Cards) -> None:
    """Adds the cards of a task, of its backbone and of its own prompts.

    Args:
        evidence: The evidence.
        task: The task.
        cards: The cards of the installation.
    """
    evidence.add("task_card", "cards/task.json", encode_card(task).encode())
    evidence.add("backbone_card", "cards/backbone.json", encode_card(cards.backbones[task.default_backbone]).encode())
    named = prompts_of(task, cards)
    for card in named:
        evidence.add("prompt_cards", f"cards/prompt-{card.id}.json", _without_images(card))
    if not named:
        evidence.leave_out("prompt_cards", "the task has no learned prompt")


def add_adapter_cards(evidence: GatheredEvidence, adapters: Iterable[str | None], store: AdapterStore) -> None:
    """Adds the cards of the adapters that the task, its prompts and the gathered figures name.

    Args:
        evidence: The evidence.
        adapters: The ids, in any order and number; None for the frozen encoder.
        store: The adapters on this machine.
    """
    missing = []
    for adapter_id in sorted({each for each in adapters if each is not None}):
        try:
            card = store.card(adapter_id)
        except Rejected as rejected:
            missing.append(f"{adapter_id}: {rejected.code}")
        else:
            evidence.add("adapter_cards", f"cards/adapter-{card.id}.json", _without_images(card))
    if missing:
        evidence.notes["adapter_cards"] = f"without the cards of {', '.join(missing)}"
    if "adapter_cards" not in evidence.of_item:
        evidence.leave_out("adapter_cards", "no card is on this machine" if missing else "no adapter is named")


def prompts_of(task: TaskCard, cards: Cards) -> list[PromptCard]:
    """Returns the prompts that a task names itself."""
    return [cards.prompts[name] for name in (task.default_prompt, task.default_bank) if name]


def _without_images(card: PromptCard | AdapterCard) -> bytes:
    """Returns a card without the digests of its images: they say nothing to a reader, and there may be thousands."""
    return canonical({name: value for name, value in asdict(card).items() if name not in ("tuned_on", "trained_on")})
