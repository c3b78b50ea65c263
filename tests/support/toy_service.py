"""A service small enough to audit in a second: a linear encoder, three prompts near each other, one tuned per image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from certrad.models.audit.modes import Mode, ModeSpec
from certrad.models.prompts.zero_shot import entropy_of_mean
from certrad.models.smoothing import Stream
from certrad.models.smoothing.encoded import EncodedSampler, Head
from certrad.models.types import AutoSigma, ClassifierSpec, FixedSigma, SamplingParams, SigmaRouting, ZeroShotAdaptation

SHAPE = (1, 16, 16)
SIGMA = 0.145
"""Half the standard deviation of uniform pixels."""
_PIXELS, _FEATURES, _CLASSES, _CONTEXT = 256, 64, 3, 2560
_SCALE = 100.0
_FIXED = ClassifierSpec(backbone="toy", prompt="template", class_names=("a", "b", "c"), template="{}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text features (K, D), compared to image features by cosine; it keeps what it was shown with a gradient."""

    texts: Tensor
    attacked_with: list[Tensor] = field(default_factory=list)

    @property
    def n_classes(self) -> int:
        return len(self.texts)

    def logits_of_features(self, features: Tensor) -> Tensor:
        if features.requires_grad:
            self.attacked_with.append(features.detach())
        return _SCALE * F.normalize(features, dim=1) @ self.texts.T


@dataclass(frozen=True, slots=True)
class SurestPrompt:
    """Uses for each noisy sample the prompt with the least entropy."""

    prompts: Sequence[Prompt]

    @property
    def n_classes(self) -> int:
        return self.prompts[0].n_classes

    def logits_of_features(self, features: Tensor) -> Tensor:
        logits = torch.stack([prompt.logits_of_features(features) for prompt in self.prompts])
        probable = logits.softmax(dim=-1)
        surest = -(probable * probable.clamp_min(1e-30).log()).sum(dim=-1)
        return logits[surest.argmin(dim=0), torch.arange(len(features))]


class ToyService:
    """Random weights of seed 0."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self._encoder = normal(_FEATURES, _PIXELS) / _PIXELS**0.5
        near = F.normalize(normal(1, _FEATURES), dim=1)
        self._classes = F.normalize(0.5 * F.normalize(normal(_CLASSES, _FEATURES), dim=1) + near, dim=1)
        self._slopes = normal(_CLASSES, _FEATURES, _CONTEXT) / _CONTEXT**0.5 * 0.35
        self._context = normal(_CONTEXT) * 0.02
        self._others = [self._context + 0.02 * normal(_CONTEXT) for _ in range(7)]
        self.prompt = Prompt(self._texts(self._context))
        self.bank = SurestPrompt([Prompt(self._texts(context)) for context in (self._context, *self._others)])

    def encode(self, pixels: Tensor) -> Tensor:
        """Image features (B, D)."""
        features: Tensor = (pixels.flatten(1) - 0.5) @ self._encoder.T
        return features

    def images(self, count: int) -> list[NDArray[np.uint8]]:
        """Uniform noise."""
        generator = np.random.default_rng(1)
        return [generator.integers(0, 256, SHAPE).astype(np.uint8) for _ in range(count)]

    def adapt(self, sampler: EncodedSampler) -> Prompt:
        """One AdamW step on the entropy of the mean prediction: Zero-Shot PromptSmooth."""
        params = ZeroShotAdaptation()
        context = self._context.clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([context], lr=params.lr)
        features = F.normalize(sampler.first(Stream.ADAPT, params.samples).clone(), dim=1)
        torch.autograd.backward(entropy_of_mean(_SCALE * features @ self._texts(context).T))
        optimizer.step()
        return Prompt(self._texts(context.detach()))

    def automatic(self, params: SamplingParams) -> Mode:
        """Two sigmas to choose from, by which half of the image is brighter; each has a prompt of its own."""
        left, right = (-1.0, 1.0) * 2, (1.0, -1.0) * 2
        routing = SigmaRouting(
            sigmas=(SIGMA / 2, SIGMA), selector_sigma=SIGMA, grid=2, weights=(left, right), biases=(0.0, 0.0)
        )
        spec = ModeSpec(name="auto", classifier=_FIXED, sigma=AutoSigma(routing), params=params)
        of_route = self.prompt, Prompt(self._texts(self._others[0]))
        return Mode(spec=spec, unadapted=dict(zip(routing.sigmas, of_route, strict=True)))

    def _texts(self, context: Tensor) -> Tensor:
        return F.normalize(self._classes + self._slopes @ context, dim=1)


def toy_mode(
    name: str, unadapted: Head, params: SamplingParams, adapt: Callable[[EncodedSampler], Head] | None = None
) -> Mode:
    """A mode of the toy; `frozen_prompt` and planted where it adapts to the image."""
    adaptation = None if adapt is None else ZeroShotAdaptation()
    spec = ClassifierSpec(
        backbone=_FIXED.backbone,
        prompt=_FIXED.prompt,
        class_names=_FIXED.class_names,
        template=_FIXED.template,
        adaptation=adaptation,
    )
    return Mode(
        spec=ModeSpec(name=name, classifier=spec, sigma=FixedSigma(SIGMA), params=params, planted=adapt is not None),
        unadapted={SIGMA: unadapted},
        adapt=adapt,
    )
