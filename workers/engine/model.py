"""The model of one job on its device: the backbone, and the adapter and the prompt that the request names."""

from dataclasses import dataclass

from certrad.models.backbones.base import Backbone
from certrad.models.certificates.noise_key import card_digest
from certrad.models.classifier import TextHead
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.text_digest import text_digest
from certrad.models.smoothing.routing import ClassifierAt
from certrad.models.types import AdapterCard, ClassifierSpec, NoiseLaw, PromptCard, ZeroShotAdaptation
from certrad.models.types.identity import ClassifierParts, TuningImagesRecord
from certrad.models.types.noise_space import NoisyImage
from certrad.models.types.tuned_on import TunedOn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """The backbone on the device, and the prompt that the request names.

    Attributes:
        backbone: The backbone, in the precision of this job, with the adapter merged into it.
        card: The card of the prompt; None for a hand-written template.
        prompt: The prompt before it is adapted; None for a hand-written template.
        adapter: The card of the adapter; None for the frozen image tower.
    """

    backbone: Backbone
    card: PromptCard | None
    prompt: ContextVectors | Bank | None
    adapter: AdapterCard | None = None

    @property
    def adapter_sha256(self) -> str | None:
        """Returns the SHA-256 of the adapter; None for the frozen image tower."""
        return None if self.adapter is None else self.adapter.sha256

    @property
    def adapter_images(self) -> TuningImagesRecord | None:
        """Returns whether all images that the adapter was trained on are recorded; None for the frozen image tower."""
        return None if self.adapter is None else _named(self.adapter.trained_on)

    @property
    def prompt_sha256(self) -> str | None:
        """Returns the SHA-256 of the prompt checkpoint; None for a hand-written template."""
        return None if self.card is None else self.card.sha256

    @property
    def tuning_images(self) -> TuningImagesRecord | None:
        """Returns whether all images that the prompt was tuned on are recorded; None for a hand-written template."""
        return None if self.card is None else _named(self.card.tuned_on)

    def parts(self, spec: ClassifierSpec, law: NoiseLaw, noisy: NoisyImage | None = None) -> ClassifierParts:
        """Returns what the base classifier computes with: its part of the noise key.

        Args:
            spec: The base classifier, by name.
            law: Named law of the noise.
            noisy: The rendered image that noise is added to; None where it is the model input.
        """
        bank = self.prompt if isinstance(self.prompt, Bank) else None
        rejection = None if bank is None else bank.rejection
        return ClassifierParts(
            backbone_sha256=self.backbone.sha256,
            card_sha256=card_digest(self.backbone.card),
            dtype=self.backbone.precision,
            text_sha256=text_digest(self.backbone, spec.class_names, spec.template, self.prompt),
            gate_sha256=None if bank is None else bank.gate.sha256,
            zero_shot=spec.adaptation if isinstance(spec.adaptation, ZeroShotAdaptation) else None,
            law=law,
            adapter_sha256=self.adapter_sha256,
            image_map=None if noisy is None else noisy.map,
            rejection_sha256=None if rejection is None else rejection.sha256,
        )

    def classifier_at(self, head: TextHead) -> ClassifierAt:
        """Returns the base classifier for noise of a sigma, as a function of sigma.

        Args:
            head: Text features and, for a bank, the gate.
        """
        return lambda sigma: head.classifier(self.backbone, sigma)


def _named(recorded: TunedOn | None) -> TuningImagesRecord:
    return "recorded" if recorded is not None and recorded.complete else "not_recorded"
