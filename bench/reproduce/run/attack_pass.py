"""One batch of test images under every attack of an experiment, without and with knowledge of prompt and defence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

from certrad.bench.reproduce.plan.experiment import Defence, Threat
from certrad.bench.reproduce.run.materials import Materials, inputs, joined_sha256, listing_sha256, pixels_sha256
from certrad.bench.reproduce.run.result import KNOWN, NOT_KNOWN
from certrad.bench.reproduce.run.surrogates import TrainedSurrogate
from certrad.models.attacks.autoattack.suite import AutoAttackParams, auto_attack
from certrad.models.attacks.base import Attack, Classify, attacked, classes
from certrad.models.attacks.pgd import ADAPTIVE_PGD_40, PGD_40, adaptive_pgd, embedding_pgd
from certrad.models.attacks.rap import RapParams, rap
from certrad.models.baselines.linear_probe import LinearHead, LinearProbe
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.datasets.split import Split
from certrad.models.defences.diffusion import DiffPure, load_diffusion
from certrad.models.defences.purifier import Logits, Purifier, defend
from certrad.models.defences.rescale import RandomResizing
from certrad.models.defences.super_resolution import load_enlarger, super_resolution
from certrad.models.prompts.context import template_features
from certrad.models.randomness import seeded

EOT: Final = 10
"""Draws of a randomised defence that the adaptive PGD averages a gradient over."""

WEIGHTS: Final[Mapping[Defence, str]] = {"diffpure": "diffusion", "super_resolution": "super-resolution"}
"""Defence -> the name of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRow:
    """A method at hand: text features (K, D), or the weights of a linear probe.

    sha256: of the learned prompt, or of what a probe's training images list; empty for a template.
    """

    name: str
    text_features: Tensor | None = None
    probe: LinearHead | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPass:
    """One threat against one defence: names and small tensors from which each process builds an `AttackWorker`.

    auto_attack: settings of AutoAttack beside epsilon and version. surrogate: of RAP, where that is the threat.
    """

    materials: Materials
    backbone: str
    dataset: str
    rows: tuple[ReadyRow, ...]
    threat: Threat
    defence: Defence
    epsilon: float
    steps: int
    auto_attack: AutoAttackParams
    seed: int
    surrogate: TrainedSurrogate | None = None

    def __call__(self) -> "AttackWorker":
        """Loads what a process needs."""
        return AttackWorker(self)


def made_of(of: AttackPass, test: Split) -> str:
    """SHA-256 of the prompts, probes and other weights of a pass, and of what the test images list."""
    rows = [f"{row.name} {row.sha256}" for row in of.rows]
    name = WEIGHTS.get(of.defence)
    defence = [of.materials.weights_sha256(name)] if name and of.materials.has_weights(name) else []
    surrogate = [of.surrogate.sha256] if of.surrogate else []
    return joined_sha256([listing_sha256(test), *rows, *defence, *surrogate])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Test images that are attacked together: a unit of work."""

    indices: tuple[int, ...]


class AttackWorker:
    """Labels a batch of clean or adversarial images by every method behind the defence."""

    def __init__(self, of: AttackPass) -> None:
        self.of = of
        self.split = of.materials.split(of.dataset, "test")
        self.backbone = of.materials.backbone(of.backbone)
        self.purifier = purifier(of.defence, of.materials, self.backbone.image_size)
        self.rows = {row.name: defend(self.purifier, self._logits(row)) for row in of.rows}
        self.surrogate = of.surrogate(of.materials) if of.surrogate else None

    def __call__(self, unit: Batch) -> dict[str, Any]:
        """Labels, digests, and for each row and condition the classes that were answered, and under what attack."""
        images = inputs(self.split, unit.indices, self.backbone.card).to(self.backbone.device)
        labels = torch.tensor([self.split.label(index) for index in unit.indices])
        return {
            "labels": labels.tolist(),
            "pixels_sha256": [pixels_sha256(image) for image in images.cpu()],
            "found": self._found(images, labels, unit.indices[0]),
        }

    def _found(self, images: Tensor, labels: Tensor, first: int) -> list[dict[str, Any]]:
        """The answers of all rows; the non-adaptive adversarial images are made once, for all of them."""
        if self.of.threat == "clean":
            return [self._answer("", row, images, first, "") for row in self.rows]
        attack, name = self._shared()
        shared = self._attacked(attack, images, labels, (NOT_KNOWN, first))
        answers = []
        for row in self.rows:
            attack, own_name = self._adaptive(row)
            own = self._attacked(attack, images, labels, (KNOWN, row, first))
            answers.append(self._answer(NOT_KNOWN, row, shared, first, name))
            answers.append(self._answer(KNOWN, row, own, first, own_name))
        return answers

    def _shared(self) -> tuple[Attack, str]:
        """The papers' attack: on image features, on the hand-crafted template, or on another network."""
        if self.of.threat == "pgd40":
            params = replace(PGD_40, epsilon=self.of.epsilon, steps=self.of.steps)
            return embedding_pgd(self.backbone, params), f"PGD-{params.steps} on image features"
        if self.of.threat == "autoattack":
            attack, name = self._auto_attack(defend(None, self._template_logits()), randomised=False)
            return attack, f"{name} on the template"
        if self.surrogate is None:
            raise ValueError("RAP needs a surrogate")
        return rap(self.surrogate, RapParams(epsilon=self.of.epsilon)), "RAP on a ResNet-50"

    def _adaptive(self, row: str) -> tuple[Attack, str]:
        """The same attack on the classifier itself, through its prompt and its defence."""
        classify = self.rows[row]
        randomised = self.purifier is not None and self.purifier.randomised
        if self.of.threat == "pgd40":
            params = replace(ADAPTIVE_PGD_40, epsilon=self.of.epsilon, steps=self.of.steps)
            attack = adaptive_pgd(classify, params, eot_draws=EOT if randomised else 1)
            return attack, f"PGD-{params.steps} on the logits" + (f", EOT {EOT}" if randomised else "")
        if self.of.threat == "autoattack":
            attack, name = self._auto_attack(classify, randomised=randomised)
            return attack, f"{name} on the classifier"
        generator = seeded(self.of.seed, "defence", row)
        own = rap(lambda pixels: classify(pixels, generator), RapParams(epsilon=self.of.epsilon))
        return own, "RAP on the classifier"

    def _auto_attack(self, classify: Classify, *, randomised: bool) -> tuple[Attack, str]:
        n_classes = len(self.split.class_names)
        version: Literal["rand", "standard"] = "rand" if randomised else "standard"
        params = replace(self.of.auto_attack, epsilon=self.of.epsilon, version=version)
        return auto_attack(classify, n_classes, params), params.name(n_classes)

    def _attacked(self, attack: Attack, images: Tensor, labels: Tensor, purpose: tuple[str | int, ...]) -> Tensor:
        generator = seeded(self.of.seed, self.of.threat, *purpose)
        own = labels.to(images.device)
        return attacked(attack, images, own, epsilon=self.of.epsilon, generator=generator, batch_size=len(images))

    def _answer(self, condition: str, row: str, images: Tensor, first: int, attack: str) -> dict[str, Any]:
        generator = seeded(self.of.seed, "answer", self.of.threat, condition, row, first)
        answered = classes(self.rows[row], images, generator, batch_size=len(images)).tolist()
        return {"condition": condition, "row": row, "attack": attack, "classes": answered}

    def _logits(self, row: ReadyRow) -> Logits:
        if row.probe is not None:
            return LinearProbe(self.backbone, row.probe).logits
        if row.text_features is None:
            raise ValueError(f"{row.name} has neither a prompt nor a probe")
        return VisionLanguageClassifier(self.backbone, row.text_features).logits

    def _template_logits(self) -> Logits:
        with torch.no_grad():
            texts = template_features(self.backbone, self.split.class_names, self.split.template or "{}")
        return VisionLanguageClassifier(self.backbone, texts).logits


def purifier(defence: Defence, materials: Materials, side: int) -> Purifier | None:
    """A defence by its name; raises Rejected where its weights are missing.

    Super-resolution is what AdvPT's released code has, wavelet denoising, and an enlargement where there is a network.
    """
    if defence == "none":
        return None
    if defence == "rescale":
        return RandomResizing.proportional(side)
    weights = WEIGHTS[defence]
    if defence == "diffpure":
        return DiffPure(model=load_diffusion(materials.weights(weights), materials.device))
    if not materials.has_weights(weights):
        return super_resolution()
    return super_resolution(load_enlarger(materials.weights(weights), materials.device))
