"""Defaults of backbone, adapter, prompt and adaptation; one rule for the service and for every command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from certrad.models.errors import Rejected
from certrad.models.types.adapter_card import AdapterCard
from certrad.models.types.cards import PromptCard, TaskCard
from certrad.models.types.rejection import RejectionCard, with_unlike
from certrad.models.types.request import TEMPLATE_PROMPT, Adaptation, GatedAdaptation, ZeroShotAdaptation

AdaptationName = Literal["none", "zero_shot", "gated"]
NamedPrompt = PromptCard | Literal["template"]
NamedAdapter = AdapterCard | Literal["none"]

ADAPTATIONS: Final[Mapping[AdaptationName, Adaptation | None]] = {
    "none": None,
    "zero_shot": ZeroShotAdaptation(),
    "gated": GatedAdaptation(),
}
BARE_TEMPLATE: Final = "{}"
"""The template of every learned prompt: words that are never encoded must not change the noise key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierChoice:
    """The classifier that a request means.

    Attributes:
        backbone: Id of the backbone.
        prompt: The learned prompt; None for the template.
        adaptation: How the prompt is adapted; None for not at all.
        adapter: The adapter of the image tower; None for the frozen tower.
    """

    backbone: str
    prompt: PromptCard | None
    adaptation: Adaptation | None
    adapter: AdapterCard | None = None

    @property
    def prompt_id(self) -> str:
        """Returns the id of the learned prompt, or `template`."""
        return TEMPLATE_PROMPT if self.prompt is None else self.prompt.id

    @property
    def adapter_id(self) -> str | None:
        """Returns the id of the adapter; None for the frozen tower."""
        return None if self.adapter is None else self.adapter.id

    @property
    def rejection(self) -> RejectionCard | None:
        """Returns what the card of a bank says about its extra class; None where there is none."""
        return None if self.prompt is None else self.prompt.rejection

    def answers(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the names of all answers in order: the classes, and the extra class of a bank that has one.

        Args:
            class_names: The names of the classes, in order.
        """
        return class_names if self.rejection is None else with_unlike(class_names)

    def template(self, hand_written: str) -> str:
        """Returns the template in force: the hand-written one, or the bare one of a learned prompt.

        Args:
            hand_written: The hand-written template.
        """
        return hand_written if self.prompt is None else BARE_TEMPLATE


def default_prompts(task: TaskCard, known: Mapping[str, PromptCard], chosen: str | None = None) -> list[PromptCard]:
    """Returns the prompts that a task may use by default: the operator's choice, the task's bank, the task's prompt.

    Args:
        task: The task.
        known: The prompts by id, without withdrawn ones.
        chosen: Id of the prompt that the operator made the task's default.

    Returns:
        The known ones among the three, in order of preference.
    """
    names = (chosen, task.default_bank, task.default_prompt)
    return [known[name] for name in names if name is not None and name in known]


def choose_classifier(
    *,
    class_names: tuple[str, ...] | None,
    candidates: Sequence[PromptCard],
    default_backbone: str | None,
    backbone: str | None = None,
    prompt: NamedPrompt | None = None,
    adaptation: AdaptationName | None = None,
    default_adaptation: AdaptationName | None = None,
    adapter: NamedAdapter | None = None,
    adapters: Mapping[str, AdapterCard] = MappingProxyType({}),
    default_adapter: str | None = None,
) -> ClassifierChoice:
    """Returns the classifier of a request, with defaults for everything that the request does not name.

    A named prompt must fit; without one the first candidate that fits is taken, else the template. The backbone is the
    named one, that of the named adapter, that of the prompt, or the default, in this order. An adaptation that is not
    named is `gated` with a bank, else the default, else `none`. An adapter that is not named is that of the prompt,
    else the default if it is one of the backbone's, else none.

    Args:
        class_names: The classes in their order; None where the named prompt brings them.
        candidates: The prompts to choose from where none is named, as `default_prompts` lists them.
        default_backbone: The backbone of the task or data set, for the template.
        backbone: The backbone that is named.
        prompt: The prompt that is named, or `template` for the hand-written one.
        adaptation: The adaptation that is named.
        default_adaptation: The one configured for requests that name none.
        adapter: The adapter that is named, or `none` for the frozen tower.
        adapters: The adapters by id, for those that a prompt or a task names.
        default_adapter: Id of the task's adapter for requests that name none; left out with another backbone than the
            default one.

    Returns:
        The choice; a zero-shot adaptation has its published parameters.

    Raises:
        Rejected: `prompt_mismatch`, a named prompt is for another backbone, other classes, another adaptation or
            another adapter; `adapter_mismatch`, the named adapter is for another backbone; `adapter_not_found`, the
            adapter of the prompt or of the task is not known; `unknown_backbone`, nothing names a backbone.
    """
    wish = adaptation or default_adaptation
    if isinstance(adapter, AdapterCard):
        backbone = _require_adapter_fit(adapter, backbone, prompt)
    learned = None
    if prompt is None:
        fitting = (card for card in candidates if _fits(card, class_names, backbone, wish))
        learned = next((card for card in fitting if _goes_with(card, adapter)), None)
    if isinstance(prompt, PromptCard):
        _require_fit(prompt, class_names, backbone)
        learned = prompt
    is_bank = learned is not None and learned.method == "bank"
    chosen = adaptation or ("gated" if is_bank else default_adaptation or "none")
    require_use(learned, ADAPTATIONS[chosen])
    backbone = backbone or (learned.backbone if learned else default_backbone)
    if backbone is None:
        raise Rejected("unknown_backbone", "`backbone` must be named: neither the prompt nor the task has a default")
    return ClassifierChoice(
        backbone=backbone,
        prompt=learned,
        adaptation=ADAPTATIONS[chosen],
        adapter=choose_adapter(
            learned, adapter, adapters, default_adapter if backbone == default_backbone else None, backbone
        ),
    )


def choose_adapter(
    prompt: PromptCard | None,
    named: NamedAdapter | None,
    known: Mapping[str, AdapterCard],
    default: str | None,
    backbone: str,
) -> AdapterCard | None:
    """Returns the adapter of a classifier; None for the frozen tower.

    Args:
        prompt: The learned prompt; None for the template.
        named: The adapter that is named, or `none`.
        known: The adapters by id.
        default: Id of the adapter for requests that name none.
        backbone: Id of the backbone.

    Raises:
        Rejected: `prompt_mismatch`, the prompt was tuned with another adapter than the named one;
            `adapter_not_found`, that of the prompt or the default is not known.
    """
    if prompt is not None and not _goes_with(prompt, named):
        raise Rejected(
            "prompt_mismatch", f"`prompt` goes with the adapter {prompt.adapter!r} only: leave `adapter` out"
        )
    if named is not None:
        return named if isinstance(named, AdapterCard) else None
    if prompt is not None and prompt.adapter is not None:
        card = _known_adapter(prompt.adapter, known, "the prompt")
        if card.sha256 != prompt.adapter_sha256:
            raise Rejected("prompt_mismatch", f"`prompt` was tuned with another adapter of the id {prompt.adapter!r}")
        return card
    if default is None:
        return None
    card = _known_adapter(default, known, "the task")
    return card if card.backbone == backbone else None


def require_adapter(card: PromptCard | None, adapter_sha256: str | None) -> None:
    """Checks that a prompt that was tuned with an adapter is used with it.

    Args:
        card: The learned prompt; None for the template.
        adapter_sha256: SHA-256 of the adapter in use; None for the frozen tower.

    Raises:
        Rejected: `prompt_mismatch`, it is another.
    """
    if card is not None and card.adapter_sha256 not in (None, adapter_sha256):
        raise Rejected("prompt_mismatch", f"prompt {card.id!r} was tuned with the adapter {card.adapter!r}")


def require_use(card: PromptCard | None, adaptation: Adaptation | None) -> None:
    """Checks that a bank is used with a gate, and a gate with a bank.

    Args:
        card: The learned prompt; None for the template.
        adaptation: The adaptation it is used with.

    Raises:
        Rejected: `prompt_mismatch`, prompt and adaptation do not go together.
    """
    is_bank, is_gated = card is not None and card.method == "bank", isinstance(adaptation, GatedAdaptation)
    if is_bank and not is_gated:
        raise Rejected("prompt_mismatch", "`prompt` is a bank, which goes with `adaptation=gated` only")
    if is_gated and not is_bank:
        raise Rejected("prompt_mismatch", "`adaptation=gated` needs a bank of prompts, not a single `prompt`")


def _fits(
    card: PromptCard, class_names: tuple[str, ...] | None, backbone: str | None, wish: AdaptationName | None
) -> bool:
    same = class_names in (None, card.class_names) and backbone in (None, card.backbone)
    return same and (wish is None or (wish == "gated") == (card.method == "bank"))


def _known_adapter(adapter_id: str, known: Mapping[str, AdapterCard], named_by: str) -> AdapterCard:
    if (card := known.get(adapter_id)) is None:
        raise Rejected("adapter_not_found", f"{named_by} names the adapter {adapter_id!r}, which is not known here")
    return card


def _goes_with(card: PromptCard, named: NamedAdapter | None) -> bool:
    """Returns whether a prompt may be used with a named adapter; `none` is the frozen tower."""
    sha256 = named.sha256 if isinstance(named, AdapterCard) else None
    return named is None or card.adapter_sha256 in (None, sha256)


def _require_adapter_fit(adapter: AdapterCard, backbone: str | None, prompt: NamedPrompt | None) -> str:
    """Returns the backbone of an adapter, which the request must not contradict."""
    if backbone not in (None, adapter.backbone):
        raise Rejected("adapter_mismatch", "`adapter` was trained for another `backbone`")
    if isinstance(prompt, PromptCard) and prompt.backbone != adapter.backbone:
        raise Rejected("adapter_mismatch", "`adapter` was trained for another backbone than that of `prompt`")
    return adapter.backbone


def _require_fit(card: PromptCard, class_names: tuple[str, ...] | None, backbone: str | None) -> None:
    if backbone not in (None, card.backbone):
        raise Rejected("prompt_mismatch", "`prompt` was tuned for another `backbone`")
    if class_names not in (None, card.class_names):
        raise Rejected("prompt_mismatch", "`prompt` was tuned for other classes, or for these in another order")
