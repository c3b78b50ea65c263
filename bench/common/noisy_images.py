"""One pass of noisy copies of an image through the image encoder, and what every prompt method makes of it.

All methods start from the image features of the selection, estimation and adaptation samples: text features, adapted or
not, or a gated bank of prompts.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from certrad.bench.common.classifier import tuned_on, with_adapter
from certrad.models.adapters.adapter import Adapter, adapted
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import DTYPES
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts import zero_shot
from certrad.models.prompts.bank import Bank, answers
from certrad.models.prompts.checkpoint import (
    load_prompt,
    load_prompt_or_bank,
    prompt_path,
    read_prompt_card,
    require_backbone,
)
from certrad.models.prompts.context import ContextVectors, text_features
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import Noise, NoisySampler, Stream, labels
from certrad.models.types import PromptCard, ZeroShotAdaptation
from certrad.models.types.defaults import require_adapter
from certrad.models.types.pixels import WHITE

SECRET: Final = b"python -m certrad.bench certified-accuracy"
"""Published, unlike an installation's: anyone can draw the same noise."""

ADAPTED: Final = frozenset({"zero_shot", "combined"})
"""The methods whose prompt is tuned on the image itself; their scope is `frozen_prompt`."""

METHODS: Final = ("template", "coop", "few_shot", "calibrated", "gated", "zero_shot", "combined")
"""All methods; `coop`, `few_shot`, which `combined` needs, `calibrated` and `gated` where there is a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """Everything that decides the labels, beside the images.

    checkpoints: method -> prompt id: `few_shot`, which `combined` starts from, `gated`, a bank, and others where given.
    methods: those that are compared.
    n: estimation samples that count for every image. check_n: those of the check, the first n among them.
    """

    backbone: str
    backbone_sha256: str
    class_names: tuple[str, ...]
    template: str
    checkpoints: dict[str, str]
    methods: tuple[str, ...] = METHODS
    adaptation: ZeroShotAdaptation
    n0: int
    n: int
    check_n: int
    batch_size: int
    data_sha256: str
    seed: int
    dtype: str

    @property
    def sha256(self) -> str:
        """Digest of all settings, part of the noise key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def passes(self, job: "Job") -> int:
        """Returns the number of images that one job encodes: the image itself and its noisy copies."""
        adapted = self.adaptation.samples if ADAPTED & set(self.methods) else 0
        return 1 + self.n0 + adapted + (self.check_n if job.check else self.n)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One image (H, W) at one sigma, with or without the check; index counts the images of the test split."""

    index: int
    pixels: npt.NDArray[np.uint8]
    label: int
    sigma: float
    check: bool


Counts = tuple[int, ...]
"""Counts of the K predicted classes, and last of `invalid`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCounts:
    """The labels of one method: of the image without noise, and counts of the noisy ones."""

    clean: int
    selection: Counts
    estimation: Counts
    check: Counts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The counts of every method for one image at one sigma."""

    index: int
    label: int
    sigma: float
    methods: dict[str, MethodCounts]

    def to_json(self) -> str:
        """One line of the journal."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> "Record":
        """The inverse of `to_json`."""
        document = json.loads(line)
        methods = {name: MethodCounts(**_as_tuples(counts)) for name, counts in document.pop("methods").items()}
        return Record(**document, methods=methods)


class Study:
    """A backbone, with the adapter that the prompts were tuned on, and the prompts that are compared on it."""

    def __init__(self, settings: StudySettings, backbones: Path, prompts: Path, adapter: Adapter | None = None) -> None:
        """Loads them; without an adapter, the shipped one that the prompts go with, if they go with one."""
        self.settings = settings
        card = shipped_backbones()[settings.backbone]
        self.frozen = load_backbone(card, weights_directory(card, backbones), dtype=DTYPES[settings.dtype])
        if adapter is None:
            cards = [prompt_card(prompts, prompt_id) for prompt_id in settings.checkpoints.values()]
            self.backbone = with_adapter(self.frozen, tuned_on(cards))
        else:
            self.backbone = adapted(self.frozen, adapter)
        if self.backbone.sha256 != settings.backbone_sha256:
            raise ValueError(f"backbone {settings.backbone_sha256} is expected, got {self.backbone.sha256}")
        self.prompts = {
            method: learned_prompt(self.backbone, prompts, prompt_id)
            for method, prompt_id in settings.checkpoints.items()
        }

    @torch.inference_mode()
    def measure(self, job: Job) -> Record:
        """Labels the noisy copies of one image by every method."""
        image = as_input(job.pixels)
        sampler = self.sampler(job)
        n, check_n = self.settings.n, self.settings.check_n
        clean = self.backbone.encode_image(torch.from_numpy(image)[None])
        selection = self._features(sampler, Stream.SELECT, self.settings.n0)
        estimation = self._features(sampler, Stream.ESTIMATE, check_n if job.check else n)
        methods = {}
        for name, head in {**self.fixed_heads(), **self._adapted_heads(sampler)}.items():
            classifier = head.classifier(self.backbone, job.sigma)
            found = [labels(classifier.logits_of_features(part)) for part in (clean, selection, estimation)]
            methods[name] = MethodCounts(
                clean=int(found[0][0]),
                selection=self.counts(found[1], classifier.n_classes),
                estimation=self.counts(found[2][:n], classifier.n_classes),
                check=self.counts(found[2], classifier.n_classes) if job.check else None,
            )
        return Record(index=job.index, label=job.label, sigma=job.sigma, methods=methods)

    def fixed_heads(self) -> dict[str, TextHead]:
        """Every method whose prompts do not depend on the image."""
        names, template = self.settings.class_names, self.settings.template
        learned = {
            method: TextHead.of_prompt(self.backbone, answers(prompt, names), prompt)
            for method, prompt in self.prompts.items()
        }
        heads = {"template": TextHead.of_template(self.backbone, names, template), **learned}
        return {method: head for method, head in heads.items() if method in self.settings.methods}

    @torch.inference_mode()
    def clean_accuracy(self, pixels: npt.NDArray[np.uint8], truth: npt.NDArray[np.int64]) -> dict[str, float]:
        """The share of images (N, H, W) that each method of a single fixed prompt labels correctly without noise.

        A gate expects noise of one sigma or another, so its accuracy without noise stands with each sigma.
        """
        parts = np.array_split(pixels, max(1, len(pixels) // self.settings.batch_size))
        stacks = (torch.from_numpy(np.stack([as_input(image) for image in part])) for part in parts)
        features = torch.cat([self.backbone.encode_image(stack) for stack in stacks])
        fixed = {name: head.text_features for name, head in self.fixed_heads().items() if head.gate is None}
        return {
            name: float(
                (labels(VisionLanguageClassifier(self.backbone, texts).logits_of_features(features)) == truth).mean()
            )
            for name, texts in fixed.items()
        }

    def _adapted_heads(self, sampler: NoisySampler) -> dict[str, TextHead]:
        names, adaptation = self.settings.class_names, self.settings.adaptation
        wanted = ADAPTED & set(self.settings.methods)
        if not wanted:
            return {}
        features = self._features(sampler, Stream.ADAPT, adaptation.samples)
        starts = {"zero_shot": zero_shot.initial_context(self.backbone, self.settings.template, adaptation.context)}
        few_shot = self.prompts.get("few_shot")
        if isinstance(few_shot, ContextVectors):
            starts["combined"] = few_shot
        return {
            method: TextHead(
                text_features=text_features(
                    self.backbone, names, zero_shot.adapt(self.backbone, features, names, start, adaptation)
                )
            )
            for method, start in starts.items()
            if method in wanted
        }

    def noise_key(self, job: Job) -> bytes:
        """The noise key of one image at one sigma."""
        settings_sha256 = hashlib.sha256(f"{self.settings.sha256} {job.sigma}".encode()).hexdigest()
        return noise_key(SECRET, hashlib.sha256(as_input(job.pixels).tobytes()).hexdigest(), settings_sha256)

    def sampler(self, job: Job) -> NoisySampler:
        """The noisy copies of one image at one sigma."""
        return NoisySampler(
            image=as_input(job.pixels),
            sigma=job.sigma,
            noise=Noise(self.noise_key(job)),
            batch_size=self.settings.batch_size,
            device=self.backbone.device,
        )

    def _features(self, sampler: NoisySampler, stream: Stream, n: int) -> Tensor:
        """Image features (n, D) of the first n samples of a stream."""
        # Drawn in this thread: every core already has a process of its own.
        starts = range(0, n, sampler.batch_size)
        return torch.cat([self.backbone.encode_image(sampler.batch(stream, start)) for start in starts])[:n]

    @staticmethod
    def counts(found: npt.NDArray[np.uint16], n_classes: int) -> Counts:
        """How often each of the classes, an extra one included, and `invalid`, is among some labels."""
        return tuple(np.bincount(found, minlength=n_classes + 1).tolist())


def learned_prompt(backbone: Backbone, prompts: Path, prompt_id: str) -> ContextVectors | Bank:
    """The context vectors, or the bank, of a prompt checkpoint of this very backbone."""
    return load_prompt_or_bank(prompts, _card(backbone, prompts, prompt_id))


def learned_context(backbone: Backbone, prompts: Path, prompt_id: str) -> ContextVectors:
    """The context vectors of a prompt checkpoint of this very backbone."""
    return load_prompt(prompts, _card(backbone, prompts, prompt_id))


def prompt_card(prompts: Path, prompt_id: str) -> PromptCard:
    """The card of a prompt checkpoint."""
    return read_prompt_card(prompt_path(prompts, prompt_id).with_suffix(".json"))


def _card(backbone: Backbone, prompts: Path, prompt_id: str) -> PromptCard:
    card = prompt_card(prompts, prompt_id)
    require_backbone(card, backbone)
    require_adapter(card, None if backbone.adapter is None else backbone.adapter.sha256)
    return card


def as_input(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A grey image (H, W) as (3, H, W) in [0, 1]."""
    grey = pixels.astype(np.float32) / np.float32(WHITE)
    return np.repeat(grey[None], 3, axis=0)


def _as_tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
