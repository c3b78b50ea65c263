"""The audit: attack what a mode of the service certified, ask the same mode again, and count the contradictions.

Two certificates contradict each other if they name different classes and one image lies within the radius of the
other: whatever the classifier, one of the two is false. A mode whose claim covers whatever is sent to it produces such
pairs no more often than its alpha allows, and how many it did produce is tested exactly (`p_value`).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

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
from certrad.models.smoothing.routing import estimate_routes, select_route
from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types import Certificate, NoiseLaw, Outcome, SigmaRouting
from certrad.models.types.pixels import WHITE

REACH = 0.95
"""An attack stays within this share of the certified radius."""
TARGET_SAMPLES = 100
"""Noisy copies that choose the class an attack aims at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a mode said of one image: a class and a radius in pixels of [0, 1], or an abstention: None and 0."""

    class_index: int | None
    radius: float

    @staticmethod
    def of(outcome: Outcome) -> "Claim":
        """The claim that an outcome makes."""
        if isinstance(outcome, Certificate):
            return Claim(class_index=outcome.class_index, radius=outcome.radius)
        return Claim(class_index=None, radius=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """What a mode said of one attacked version of an image.

    squared_distance: |x' - x|² in squared steps of the grid, an exact integer > 0.
    """

    claim: Claim
    squared_distance: int

    def contradicts(self, clean: Claim) -> bool:
        """Whether both were certified, for different classes, and one lies within the radius of the other."""
        if None in (clean.class_index, self.claim.class_index):
            return False
        radius = Fraction(repr(max(clean.radius, self.claim.radius)))
        return clean.class_index != self.claim.class_index and self.squared_distance < (WHITE * radius) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one mode said of one image and of its attacked versions.

    attacked: none where nothing was certified, or where no other image of the grid lies within reach.
    """

    clean: Claim
    attacked: tuple[Attacked, ...] = ()

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Finding":
        """The inverse of `dataclasses.asdict`."""
        versions = [Attacked(**{**version, "claim": Claim(**version["claim"])}) for version in document["attacked"]]
        return Finding(clean=Claim(**document["clean"]), attacked=tuple(versions))

    @property
    def contradiction(self) -> bool:
        """Whether any attacked version contradicts what was said of the image."""
        return any(version.contradicts(self.clean) for version in self.attacked)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """Attacks images, and asks every mode about each version with noise that is bound to that version's pixels.

    encode: image features (B, D) of pixels (B, C, H, W), differentiable; one image encoder serves all modes.
    targets: classes that each certified image is attacked towards, one after the other, the most probable first; at
        most all the others.
    secret: of the noise keys. What is found of an image is a function of its pixels, the mode, and what is named here:
    not of the other modes or images.
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
        """What each mode in turn said of one image, (C, H, W) on the grid 0..255, and of its attacked versions."""
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
        clean, sigma = self._ask(mode, self.pixels)
        if clean.class_index is None:
            return Finding(clean=clean)
        unadapted = mode.unadapted[sigma]
        targets = _targets(unadapted, clean.class_index, self._sampler(self.pixels, sigma))[: self.audit.targets]
        versions = [self._attacked(unadapted, sigma, target, REACH * clean.radius) for target in targets]
        return Finding(
            clean=clean,
            attacked=tuple(
                Attacked(claim=self._ask(mode, version)[0], squared_distance=squared)
                for version in versions
                if (squared := squared_length(version.astype(np.int64) - self.pixels))
            ),
        )

    def _ask(self, mode: Mode, pixels: NDArray[np.uint8]) -> tuple[Claim, float]:
        """What the service does with an image: adaptation, selection, estimation, decision; and the sigma it did at."""
        if mode.spec.routing is not None:
            return self._ask_routed(mode, mode.spec.routing, pixels)
        sampler = self._sampler(pixels, mode.params.sigma)
        head = mode.unadapted[mode.params.sigma] if mode.adapt is None else mode.adapt(sampler)
        classifier = sampler.classifier(head)
        selection = select(sampler, classifier, mode.params)
        return Claim.of(estimate(sampler, classifier, mode.params, selection, MemoryBlocks()).outcome), sampler.sigma

    def _ask_routed(self, mode: Mode, routing: SigmaRouting, pixels: NDArray[np.uint8]) -> tuple[Claim, float]:
        """The same with automatic sigma: the selector takes pixels, so that these samples are not shared encoded."""
        sampler = self._noisy(pixels, mode.params.sigma)

        def classifier_of(route: int) -> EncodingClassifier:
            head = mode.unadapted[routing.sigmas[route]]
            return EncodingClassifier(head, pixels.shape, self.audit.device, self.audit.encode)

        selection = select_route(sampler, classifier_of, mode.params, routing)
        routed = estimate_routes(sampler, classifier_of, mode.params, routing, selection, lambda _: MemoryBlocks())
        return Claim.of(routed.outcome), routed.sigma

    def _sampler(self, pixels: NDArray[np.uint8], sigma: float) -> EncodedSampler:
        version = pixels.tobytes(), sigma
        if version not in self.samplers:
            self.samplers[version] = EncodedSampler.of(self._noisy(pixels, sigma), self.audit.encode)
        return self.samplers[version]

    def _noisy(self, pixels: NDArray[np.uint8], sigma: float) -> NoisySampler:
        settings = hashlib.sha256(f"audit {pixels.shape} {sigma}".encode()).hexdigest()
        key = noise_key(self.audit.secret, hashlib.sha256(pixels.tobytes()).hexdigest(), settings)
        return NoisySampler(
            image=pixels.astype(np.float32) / np.float32(WHITE),
            sigma=sigma,
            noise=Noise(key, self.audit.law),
            batch_size=self.audit.batch_size,
            device=self.audit.device,
        )

    def _attacked(self, unadapted: Head, sigma: float, target: int, radius: float) -> NDArray[np.uint8]:
        """The image attacked through the unadapted classifier."""
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
        """Noise of the attack: none of the service's, and the same whichever mode asks first."""
        seed = hashlib.sha256(sampler.noise.key + f"attack {target} {radius!r}".encode()).digest()[:8]
        return torch.Generator(self.audit.device).manual_seed(int.from_bytes(seed, "little", signed=True))


def _targets(unadapted: Head, certified: int, sampler: EncodedSampler) -> list[int]:
    """The classes but the certified one, the most probable under noise first."""
    features = sampler.first(Stream.SELECT, TARGET_SAMPLES)
    probable = unadapted.logits_of_features(features).softmax(dim=-1).mean(dim=0)
    ranked: list[int] = probable.argsort(descending=True, stable=True).tolist()
    return [label for label in ranked if label != certified]
