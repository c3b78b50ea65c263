"""The model of one job on its device: the backbone, and the prompt that the request names."""

from dataclasses import dataclass

from certrad.models.backbones.base import Backbone
from certrad.models.certificates.noise_key import settings_digest
from certrad.models.classifier import TextHead
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors
from certrad.models.smoothing.routing import ClassifierAt
from certrad.models.types import CertifyRequest, PromptCard


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """The backbone on the device, and the prompt that the request names.

    Attributes:
        backbone: The backbone, in the precision of this job.
        card: The card of the prompt; None for a hand-written template.
        prompt: The prompt before it is adapted; None for a hand-written template.
    """

    backbone: Backbone
    card: PromptCard | None
    prompt: ContextVectors | Bank | None

    @property
    def prompt_sha256(self) -> str | None:
        """Returns the SHA-256 of the prompt checkpoint; None for a hand-written template."""
        return None if self.card is None else self.card.sha256

    def settings_sha256(self, request: CertifyRequest) -> str:
        """Returns the settings' part of the noise key.

        Args:
            request: The request of the job.
        """
        return settings_digest(
            request,
            backbone_sha256=self.backbone.sha256,
            prompt_sha256=self.prompt_sha256,
            input_shape=input_shape(self.backbone),
        )

    def classifier_at(self, head: TextHead) -> ClassifierAt:
        """Returns the base classifier for noise of a sigma, as a function of sigma.

        Args:
            head: Text features and, for a bank, the gate.
        """
        return lambda sigma: head.classifier(self.backbone, sigma)


def input_shape(backbone: Backbone) -> tuple[int, int, int]:
    """Returns (channels, height, width) of the pixels a backbone takes.

    Args:
        backbone: The backbone.
    """
    return 3, backbone.image_size, backbone.image_size
