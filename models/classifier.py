"""The base classifier: cosine similarity of image features to the text features of a prompt, or of a gated bank."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors, template_features, text_features
from certrad.models.prompts.gate import Gate, SampleGate, mixed_similarities
from certrad.models.prompts.rejection import Rejection, SampleRejection
from certrad.models.prompts.zero_shot import adapt, initial_context
from certrad.models.smoothing.fused_noise import PIXELS, InputForm
from certrad.models.types import ClassifierSpec, ZeroShotAdaptation

_ONE_TEXT: Final = 1e-6
"""Unit text features that differ by less in every coordinate are one: places in a batch differ by their rounding."""


class VisionLanguageClassifier:
    """Classifies pixels by the text feature that their image feature is most similar to; the text is encoded only once.

    Attributes:
        backbone: The image encoder.
        gate: Of a bank, at the sigma of the noise that is to be classified; None for one prompt.
        text_features: (K, D), L2-normalised; with a gate (B, K, D), of the B prompts that it weighs on each sample.
        rejection: The extra class, which is the last of the K, at that sigma; None where there is none.
    """

    def __init__(
        self,
        backbone: Backbone,
        text_features: Tensor,
        gate: SampleGate | None = None,
        rejection: SampleRejection | None = None,
    ) -> None:
        members = () if gate is None else (len(gate.output_bias),)
        expected = (*members, text_features.shape[-2] if text_features.ndim > 1 else 0, backbone.embed_dim)
        if tuple(text_features.shape) != expected:
            axes = ", ".join(map(str, (*members, "K", backbone.embed_dim)))
            raise ValueError(f"text features must be of shape ({axes}), got {tuple(text_features.shape)}")
        self.backbone = backbone
        self.gate = None if gate is None else gate.to(backbone.device)
        self.text_features = text_features.detach().to(backbone.device, torch.float32)
        self.rejection = None if rejection is None else rejection.to(backbone.device)
        # Those of the classes alone: their logits are then those of the bank without its extra class, bit for bit.
        self._known = self.text_features if rejection is None else self.text_features[:, :-1].contiguous()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns (channels, height, width) of one input."""
        return (3, self.backbone.image_size, self.backbone.image_size)

    @property
    def n_classes(self) -> int:
        """Returns the number K of classes."""
        return self.text_features.shape[-2]

    @property
    def device(self) -> torch.device:
        """Returns where the classifier computes."""
        return self.backbone.device

    def logits(self, pixels: Tensor, /) -> Tensor:
        """Returns logits (B, K), float32.

        Args:
            pixels: (B, 3, H, W) in the units of [0, 1], noise included and unclipped.
        """
        return self.logits_of_features(self.backbone.encode_image(pixels))

    @property
    def input_form(self) -> InputForm:
        """Returns the form of what the image tower takes: normalised, in its dtype and memory format."""
        of, card = self.backbone, self.backbone.card
        return InputForm(dtype=of.dtype, channels_last=of.channels_last, mean=card.mean, std=card.std)

    def batch_logits(self, inputs: Tensor, form: InputForm, /) -> Tensor:
        """Returns logits (B, K) as `logits` does; on CUDA by a graph once some batches of this shape were computed.

        Args:
            inputs: (B, 3, H, W), pixels or what `input_form` says.
            form: Their form.
        """
        run = self.logits if form == PIXELS else self._logits_of_normalised
        graphs = self.backbone.graphs
        return run(inputs) if graphs is None else graphs.compute((self._digest, form), run, inputs)

    def _logits_of_normalised(self, inputs: Tensor) -> Tensor:
        return self.logits_of_features(self.backbone.encode_normalised(inputs))

    @cached_property
    def _digest(self) -> str:
        """The SHA-256 of what the logits depend on behind the encoder."""
        of_gate = () if self.gate is None else self.gate.tensors
        found = (text_features_sha256(each) for each in (self.text_features, *of_gate))
        return hashlib.sha256("".join(found).encode()).hexdigest()

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Returns logits (B, K), float32, of image features: one pass of noisy images can serve many prompts.

        logits = exp(logit_scale)·⟨v/|v|, u_k⟩, with a gate u_k = Σ_b w_b(v/|v|) u_bk; a non-finite feature gives
        non-finite logits. A row depends on its own feature only. An extra class has a gate and a bias of its own.

        Args:
            features: (B, D), v in the formula.
        """
        directions = F.normalize(features.to(self.device, torch.float32), dim=-1)
        if self.gate is not None:
            weights = self.gate.weights(directions)
            logits = self.backbone.logit_scale * mixed_similarities(directions, self._known, weights)
            if self.rejection is None:
                return logits
            return torch.cat([logits, self.rejection.logits(directions, self.backbone.logit_scale)], dim=1)
        return self.backbone.logit_scale * directions @ self.text_features.T


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextHead:
    """The text side of a base classifier, for any sigma.

    Attributes:
        text_features: (K, D), with a gate (B, K, D).
        gate: Of a bank; None for one prompt.
        rejection: The extra class of a bank, which is the last of the K; None where it has none.
    """

    text_features: Tensor
    gate: Gate | None = None
    rejection: Rejection | None = None

    @staticmethod
    def of_spec(backbone: Backbone, spec: ClassifierSpec, prompt: ContextVectors | Bank | None) -> "TextHead":
        """Returns the head of the prompt in force, see `prompt_in_force`; of the template where there is none.

        Args:
            backbone: The text encoder.
            spec: Names the classes and the template.
            prompt: The prompt in force.

        Raises:
            Rejected: indistinct_classes, where two classes have equal text features.
        """
        if prompt is None:
            head = TextHead.of_template(backbone, spec.class_names, spec.template)
        else:
            head = TextHead.of_prompt(backbone, spec.class_names, prompt)
        _check_distinct(head.text_features, spec.class_names)
        return head

    @staticmethod
    def of_template(backbone: Backbone, class_names: Sequence[str], template: str) -> "TextHead":
        """Returns the head of a hand-written template.

        Args:
            backbone: The text encoder.
            class_names: The names of the classes.
            template: Text with one `{}`.
        """
        with torch.no_grad():
            return TextHead(text_features=template_features(backbone, class_names, template))

    @staticmethod
    def of_prompt(backbone: Backbone, class_names: Sequence[str], prompt: ContextVectors | Bank) -> "TextHead":
        """Returns the head of a learned prompt or a bank.

        Args:
            backbone: The text encoder.
            class_names: The names of the classes.
            prompt: Context vectors, or a bank.
        """
        with torch.no_grad():
            if isinstance(prompt, Bank):
                features = prompt.text_features(backbone, class_names)
                return TextHead(text_features=features, gate=prompt.gate, rejection=prompt.rejection)
            return TextHead(text_features=text_features(backbone, class_names, prompt))

    def classifier(self, backbone: Backbone, sigma: float) -> VisionLanguageClassifier:
        """Returns the base classifier for noise of this standard deviation; without a gate it is the same for all.

        Args:
            backbone: The image encoder.
            sigma: Noise standard deviation in pixels of [0, 1].

        Raises:
            Rejected: sigma_not_tuned, beyond the sigmas of an extra class.
        """
        gate = None if self.gate is None else self.gate.at(sigma)
        rejection = None if self.rejection is None else self.rejection.at(sigma)
        return VisionLanguageClassifier(backbone, self.text_features, gate, rejection)


def _check_distinct(text_features: Tensor, class_names: Sequence[str]) -> None:
    """Raises Rejected where two classes have the same text feature, of a bank under every prompt."""
    members = text_features if text_features.ndim == 3 else text_features[None]
    apart = torch.stack([torch.cdist(member, member, p=torch.inf) for member in members]).amax(dim=0)
    same = (apart.fill_diagonal_(torch.inf) < _ONE_TEXT).nonzero().tolist()
    if same:
        first, second = (class_names[index] for index in same[0])
        raise Rejected(
            "indistinct_classes", f"{first!r} and {second!r} have one text feature; nothing tells them apart"
        )


def prompt_in_force(
    backbone: Backbone,
    spec: ClassifierSpec,
    prompt: ContextVectors | Bank | None,
    noisy_features: Callable[[int], Tensor],
) -> ContextVectors | Bank | None:
    """Returns the prompt a spec asks for: the checkpoint it names, None for a template, or what either is adapted to.

    Args:
        backbone: The text encoder.
        spec: Names the template and the adaptation.
        prompt: The checkpoint that the spec names, None for a template.
        noisy_features: The first T samples of the image in the adaptation stream, encoded: (T, D). Called only where
            the prompt is adapted to the image.

    Raises:
        TypeError: A bank would have to be tuned on an image.
        Rejected: The template has no word to tune.
    """
    adaptation = spec.adaptation
    if not isinstance(adaptation, ZeroShotAdaptation):
        return prompt
    if isinstance(prompt, Bank):
        raise TypeError("a bank has no context vectors that could be tuned on an image")
    start_from = prompt or initial_context(backbone, spec.template, adaptation.context)
    return adapt(backbone, noisy_features(adaptation.samples), spec.class_names, start_from, adaptation)


def text_features_sha256(text_features: Tensor) -> str:
    """Returns the SHA-256 of the float32 bytes, row by row, little-endian: the identity of a prompt or bank as encoded.

    Args:
        text_features: (K, D), of a bank (B, K, D).
    """
    values = text_features.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(values.numpy().astype("<f4").tobytes()).hexdigest()
