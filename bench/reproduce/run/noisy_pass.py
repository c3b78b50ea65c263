"""One pass of noisy copies of an image through the image encoder, and what every method of the pass makes of it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from certrad.bench.reproduce.plan.experiment import Denoiser
from certrad.bench.reproduce.run.materials import Materials, inputs, listing_sha256, pixels_sha256
from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import TextHead
from certrad.models.datasets.split import Split
from certrad.models.defences.denoiser import load_denoiser
from certrad.models.defences.diffusion import load_diffusion, one_shot
from certrad.models.defences.purifier import Denoise
from certrad.models.prompts import zero_shot
from certrad.models.prompts.context import ContextVectors
from certrad.models.smoothing import Noise, NoisySampler, Stream, labels
from certrad.models.smoothing.device import noise_law
from certrad.models.smoothing.encoded import EncodedSampler
from certrad.models.types import ZeroShotAdaptation

BATCH_SIZE: Final = 50
SECRET: Final = b"python -m certrad.bench reproduce"
"""Published, unlike an installation's: anyone can draw the same noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyMethod:
    """A method with its prompt at hand.

    context: learned vectors; None is `template`. adaptation: what is done to either on the image itself.
    """

    name: str
    context: ContextVectors | None
    template: str
    adaptation: ZeroShotAdaptation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyImage:
    """One test image at one sigma: a unit of work."""

    index: int
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyPass:
    """Names and small tensors from which each process builds a `PassWorker`.

    methods: all share the features of the noisy copies. denoiser: what removes the noise before the encoder; denoisers:
        sigma -> id of a trained one. adapter: id of the one that is merged into the image encoder.
    """

    materials: Materials
    backbone: str
    dataset: str
    methods: tuple[ReadyMethod, ...]
    n0: int
    n: int
    seed: int
    denoiser: Denoiser | None = None
    denoisers: tuple[tuple[float, str], ...] = ()
    adapter: str | None = None

    @property
    def batch_size(self) -> int:
        """Samples that are drawn and encoded together, never more than are asked for."""
        return min(self.n0, BATCH_SIZE)

    def __call__(self) -> "PassWorker":
        """Loads what a process needs."""
        return PassWorker(self)


def made_of(of: NoisyPass, test: Split) -> str:
    """SHA-256 of the learned prompts, the denoisers and the adapter of a pass, and of what the test images list."""
    prompts = [
        (method.name, method.template, None if method.context is None else method.context.vectors.tolist())
        for method in of.methods
    ]
    adapter = [] if of.adapter is None else [of.adapter]  # an id names the bytes
    diffusion = [of.materials.weights_sha256("diffusion")] if of.denoiser == "diffusion" else []
    return hashlib.sha256(
        json.dumps([listing_sha256(test), prompts, of.denoisers, *diffusion, *adapter]).encode()
    ).hexdigest()


class PassWorker:
    """Labels the noisy copies of an image by every method of a pass."""

    def __init__(self, of: NoisyPass) -> None:
        self.settings = of
        self.split = of.materials.split(of.dataset, "test")
        self.backbone = of.materials.backbone(of.backbone, sampling=True)
        if of.adapter is not None:
            adapters = AdapterStore(own=of.materials.out / "adapters")
            self.backbone = adapted(self.backbone, adapters.load(adapters.card(of.adapter)))
        self.fixed = {method.name: self._fixed(method) for method in of.methods if method.adaptation is None}
        self._denoise: dict[float, Denoise] = {}

    @torch.inference_mode()
    def __call__(self, unit: NoisyImage) -> dict[str, Any]:
        """Label, digest of the pixels, and for each method the labels of the clean image and counts of the noisy."""
        image = inputs(self.split, [unit.index], self.backbone.card)
        digest = pixels_sha256(image[0])
        sampler = self._sampler(image[0].numpy(), digest, unit.sigma)
        passed = {
            "clean": sampler.encode(image.to(self.backbone.device)),
            "selection": sampler.first(Stream.SELECT, self.settings.n0),
            "estimation": sampler.first(Stream.ESTIMATE, self.settings.n),
        }
        heads = {
            method.name: self.fixed.get(method.name) or self._adapted(method, sampler)
            for method in self.settings.methods
        }
        found = {name: self._labelled(head, passed, unit.sigma) for name, head in heads.items()}
        return {"label": self.split.label(unit.index), "pixels_sha256": digest, "methods": found}

    def _labelled(self, head: TextHead, passed: dict[str, Tensor], sigma: float) -> dict[str, Any]:
        classifier = head.classifier(self.backbone, sigma)
        found = {name: labels(classifier.logits_of_features(features)) for name, features in passed.items()}
        n_classes = len(self.split.class_names)
        return {
            "clean": int(found["clean"][0]),
            "selection": np.bincount(found["selection"], minlength=n_classes + 1).tolist(),
            "estimation": np.bincount(found["estimation"], minlength=n_classes + 1).tolist(),
        }

    def _fixed(self, method: ReadyMethod) -> TextHead:
        if method.context is None:
            return TextHead.of_template(self.backbone, self.split.class_names, method.template)
        return TextHead.of_prompt(self.backbone, self.split.class_names, method.context)

    def _adapted(self, method: ReadyMethod, sampler: EncodedSampler) -> TextHead:
        adaptation = method.adaptation
        if adaptation is None:
            raise TypeError(f"{method.name} is not adapted to an image")
        start = method.context or zero_shot.initial_context(self.backbone, method.template, adaptation.context)
        features = sampler.first(Stream.ADAPT, adaptation.samples)
        context = zero_shot.adapt(self.backbone, features, self.split.class_names, start, adaptation)
        return TextHead.of_prompt(self.backbone, self.split.class_names, context)

    def _sampler(self, image: npt.NDArray[np.float32], digest: str, sigma: float) -> EncodedSampler:
        # Not the experiment's name: the same image has the same noise in every table.
        settings_sha256 = hashlib.sha256(f"{self.settings.seed} {sigma}".encode()).hexdigest()
        pixels = NoisySampler(
            image=image,
            sigma=sigma,
            noise=Noise(noise_key(SECRET, digest, settings_sha256), noise_law(self.backbone.device)),
            batch_size=self.settings.batch_size,
            device=self.backbone.device,
        )
        return EncodedSampler(pixels=pixels, encode=self._encoder(sigma))

    def _encoder(self, sigma: float) -> Callable[[Tensor], Tensor]:
        if self.settings.denoiser is None:
            return self.backbone.encode_image
        if sigma not in self._denoise:
            self._denoise[sigma] = self._load_denoise(sigma)
        denoise = self._denoise[sigma]
        return lambda pixels: self.backbone.encode_image(denoise(pixels))

    def _load_denoise(self, sigma: float) -> Denoise:
        materials, device = self.settings.materials, self.backbone.device
        if self.settings.denoiser == "diffusion":
            return one_shot(load_diffusion(materials.weights("diffusion"), device), sigma)
        model, _ = load_denoiser(materials.out / "denoisers", dict(self.settings.denoisers)[sigma], device)
        return model
