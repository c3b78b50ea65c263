"""The audit: attack images that a mode of the service certified, certify the results, and count contradictions.

Two certificates contradict each other if they name different classes and one image lies within the radius of the other:
whatever the classifier, one of the two is false. A mode whose claim covers every image sent to it produces such pairs
no more often than its alpha allows, and the number of pairs is tested exactly (`p_value`).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certrad.models.attacks.smooth_adv import SmoothAdv, attack, squared_length
from certrad.models.audit.modes import Mode
from certrad.models.certificates.noise_key import noise_key
from certrad.models.smoothing import MemoryBlocks, Noise, Stream, estimate, select
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.models.smoothing.encoded import EncodedSampler, EncodingClassifier, Head
from certrad.models.smoothing.plan import plan_samples
from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types import AutoSigma, Certificate, FixedSigma, NoiseLaw, Outcome
from certrad.models.types.pixels import WHITE

REACH: Final = 0.95
"""An attack stays within this share of the certified radius."""
TARGET_SAMPLES: Final = 100
"""Noisy copies that choose the class an attack aims at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claim of a mode about one image.

    Attributes:
        class_index: the certified class; None for an abstention.
        radius: certified radius, in pixels of [0, 1]; 0 for an abstention.
    """

    class_index: int | None
    radius: float

    @staticmethod
    def of(outcome: Outcome) -> "Claim":
        """Returns the claim that an outcome makes."""
        if isinstance(outcome, Certificate):
            return Claim(class_index=outcome.class_index, radius=outcome.radius)
        return Claim(class_index=None, radius=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackedVersion:
    """The claim of a mode about one attacked version of an image.

    Attributes:
        claim: the claim.
        squared_distance: |x' - x|² in squared steps of the grid, an exact integer > 0.
    """

    claim: Claim
    squared_distance: int

    def contradicts(self, clean: Claim) -> bool:
        """Returns whether both are certified, for different classes, and one lies within the radius of the other."""
        if None in (clean.class_index, self.claim.class_index):
            return False
        radius = Fraction(repr(max(clean.radius, self.claim.radius)))
        return clean.class_index != self.claim.class_index and self.squared_distance < (WHITE * radius) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The claims of one mode about one image and its attacked versions.

    Attributes:
        clean: the claim about the image itself.
        attacked: the claims about its attacked versions; empty where nothing was certified, or where no other image of
            the grid lies within reach.
    """

    clean: Claim
    attacked: tuple[AttackedVersion, ...] = ()

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Finding":
        """Returns the finding that `dataclasses.asdict` made into a document."""
        versions = [
            AttackedVersion(**{**version, "claim": Claim(**version["claim"])}) for version in document["attacked"]
        ]
        return Finding(clean=Claim(**document["clean"]), attacked=tuple(versions))

    @property
    def contradiction(self) -> bool:
        """Returns whether any attacked version contradicts the claim about the image."""
        return any(version.contradicts(self.clean) for version in self.attacked)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """Attacks images, and asks every mode about each version, with noise that is bound to that version's pixels.

    The finding of an image is a function of its pixels, the mode, and these attributes: not of the other modes or
    images.

    Attributes:
        modes: the modes to audit.
        encode: returns image features (B, D) of pixels (B, C, H, W), differentiable; one image encoder serves all
            modes.
        secret: secret from which noise keys are derived.
        attack: settings of the attack.
        targets: number of classes towards which each certified image is attacked, one after the other, the most
            probable first; at most all the others.
        device: the device of the encoder.
        law: noise law.
        batch_size: noisy copies in one forward pass.
    """

    modes: Sequence[Mode]
    encode: Callable[[Tensor], Tensor]
    secret: bytes
    attack: SmoothAdv = field(default_factory=SmoothAdv)
    targets: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    law: NoiseLaw = "philox-ziggurat-f64"
    batch_size: int = BATCH_SIZE

    def findings(self, pixels: NDArray[np.uint8]) -> list[Finding]:
        """Returns the finding of each mode in turn for one image, (C, H, W) on the grid 0..255."""
        image = _ImageAudit(self, pixels)
        return [image.finding(mode) for mode in self.modes]


@dataclass(frozen=True, slots=True)
class _ImageAudit:
    """The audit of one image: its versions, each sampled once, and the attacks that made them."""

    audit: Audit
    pixels: NDArray[np.uint8]
    samplers: dict[tuple[bytes, float], EncodedSampler] = field(default_factory=dict)
    attacked: dict[tuple[int, float, int, float], NDArray[np.uint8]] = field(default_factory=dict)

    def finding(self, mode: Mode) -> Finding:
        clean, sigma = self._certify(mode, self.pixels)
        if clean.class_index is None:
            return Finding(clean=clean)
        unadapted = mode.unadapted[sigma]
        targets = _targets(unadapted, clean.class_index, self._sampler(self.pixels, sigma))[: self.audit.targets]
        versions = [self._attack(unadapted, sigma, target, REACH * clean.radius) for target in targets]
        return Finding(
            clean=clean,
            attacked=tuple(
                AttackedVersion(claim=self._certify(mode, version)[0], squared_distance=squared)
                for version in versions
                if (squared := squared_length(version.astype(np.int64) - self.pixels))
            ),
        )

    def _certify(self, mode: Mode, pixels: NDArray[np.uint8]) -> tuple[Claim, float]:
        """Returns the claim that the service would make of the image, and the sigma of its noise."""
        match mode.spec.sigma:
            case FixedSigma(sigma):
                return self._certify_fixed(mode, sigma, pixels), sigma
            case AutoSigma() as auto:
                return self._certify_auto(mode, auto, pixels)

    def _certify_fixed(self, mode: Mode, sigma: float, pixels: NDArray[np.uint8]) -> Claim:
        sampler, params = self._sampler(pixels, sigma), mode.params.at(sigma)
        head = mode.unadapted[sigma] if mode.adapt is None else mode.adapt(sampler)
        classifier = sampler.classifier(head)
        selection = select(sampler, classifier, params)
        return Claim.of(estimate(sampler, classifier, params, selection, MemoryBlocks()).outcome)

    def _certify_auto(self, mode: Mode, auto: AutoSigma, pixels: NDArray[np.uint8]) -> tuple[Claim, float]:
        """Returns the same with automatic sigma: the selector takes pixels, so these samples are not shared encoded."""

        def classifier_at(sigma: float) -> EncodingClassifier:
            return EncodingClassifier(mode.unadapted[sigma], pixels.shape, self.audit.device, self.audit.encode)

        plan, sampler = plan_samples(auto, mode.params), self._noisy_sampler(pixels, auto.first)
        selection = plan.select(sampler, classifier_at)
        evidence = plan.estimate(sampler, classifier_at, selection, lambda _: MemoryBlocks())
        return Claim.of(evidence.outcome), evidence.sigma

    def _sampler(self, pixels: NDArray[np.uint8], sigma: float) -> EncodedSampler:
        version = pixels.tobytes(), sigma
        if version not in self.samplers:
            self.samplers[version] = EncodedSampler(pixels=self._noisy_sampler(pixels, sigma), encode=self.audit.encode)
        return self.samplers[version]

    def _noisy_sampler(self, pixels: NDArray[np.uint8], sigma: float) -> NoisySampler:
        settings = hashlib.sha256(f"audit {pixels.shape} {sigma}".encode()).hexdigest()
        key = noise_key(self.audit.secret, hashlib.sha256(pixels.tobytes()).hexdigest(), settings)
        return NoisySampler(
            image=pixels.astype(np.float32) / np.float32(WHITE),
            sigma=sigma,
            noise=Noise(key, self.audit.law),
            batch_size=self.audit.batch_size,
            device=self.audit.device,
        )

    def _attack(self, unadapted: Head, sigma: float, target: int, radius: float) -> NDArray[np.uint8]:
        """Returns the image attacked through the unadapted classifier."""
        sampler = self._sampler(self.pixels, sigma)
        ball = id(unadapted), sigma, target, radius
        if ball not in self.attacked:
            self.attacked[ball] = attack(
                self.pixels,
                lambda noisy: unadapted.logits_of_features(self.audit.encode(noisy)),
                target=target,
                sigma=sigma,
                radius=radius,
                params=self.audit.attack,
                generator=self._generator(sampler, target, radius),
            )
        return self.attacked[ball]

    def _generator(self, sampler: EncodedSampler, target: int, radius: float) -> torch.Generator:
        """Returns the generator of the attack: unrelated to the service's noise, and the same for every mode."""
        seed = hashlib.sha256(sampler.pixels.noise.key + f"attack {target} {radius!r}".encode()).digest()[:8]
        return torch.Generator(self.audit.device).manual_seed(int.from_bytes(seed, "little", signed=True))


def _targets(unadapted: Head, certified: int, sampler: EncodedSampler) -> list[int]:
    """Returns all classes except the certified one, the most probable under noise first."""
    features = sampler.first(Stream.SELECT, TARGET_SAMPLES)
    probable = unadapted.logits_of_features(features).softmax(dim=-1).mean(dim=0)
    ranked: list[int] = probable.argsort(descending=True, stable=True).tolist()
    return [label for label in ranked if label != certified]
