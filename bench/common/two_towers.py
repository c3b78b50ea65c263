"""The frozen and the adapted image tower on one pass of noise, each with the prompts that go with it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certrad.bench.common.adapter_training import adapter_on_mednist
from certrad.bench.common.mednist import TASK
from certrad.bench.common.noisy_images import Job, MethodCounts, Record, Study, StudySettings, as_input, prompt_card
from certrad.bench.demo.common import backbone_of
from certrad.models.adapters.adapter import Adapter
from certrad.models.adapters.checkpoint import load_adapter, read_adapter_card
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.classifier import TextHead
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_tasks
from certrad.models.smoothing import NoisySampler, Stream, labels
from certrad.models.types import ZeroShotAdaptation
from certrad.models.types.defaults import require_adapter

METHODS: Final = ("template", "few_shot", "gated")
TOWERS: Final = ("frozen", "adapted")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """Everything that decides the labels, beside the images.

    study: that of the prompts. adapter_sha256: that of the adapter's file. towers: those that are measured.
    """

    study: StudySettings
    adapter_sha256: str
    towers: tuple[str, ...] = TOWERS


class TwoTowers:
    """The frozen and the adapted image tower, and the prompts that go with each."""

    def __init__(self, settings: AdapterSettings, adapter: Adapter, backbones: Path, prompts: Path) -> None:
        self.study = Study(settings.study, backbones, prompts, adapter)
        both = {"frozen": self.study.frozen, "adapted": self.study.backbone}
        self.towers: Mapping[str, Backbone] = {name: both[name] for name in settings.towers}
        heads = self.study.fixed_heads()  # the text tower is one for both
        only_adapted = {
            method
            for method, prompt_id in settings.study.checkpoints.items()
            if prompt_card(prompts, prompt_id).adapter is not None
        }
        self.heads: Mapping[str, Mapping[str, TextHead]] = {
            tower: {name: head for name, head in heads.items() if tower == "adapted" or name not in only_adapted}
            for tower in settings.towers
        }

    def measure(self, job: Job) -> Record:
        """Labels the noisy copies of one image by every method on each tower, from one pass of noise."""
        methods = self.methods(as_input(job.pixels), self.study.sampler(job))
        return Record(index=job.index, label=job.label, sigma=job.sigma, methods=methods)

    @torch.inference_mode()
    def methods(self, image: NDArray[np.float32], sampler: NoisySampler) -> dict[str, MethodCounts]:
        """The labels of one image (3, H, W) and of its noisy copies, by every method on each tower."""
        settings = self.study.settings
        selection = self._features(sampler, Stream.SELECT, settings.n0)
        estimation = self._features(sampler, Stream.ESTIMATE, settings.n)
        methods = {}
        for tower, backbone in self.towers.items():
            clean = backbone.encode_image(torch.from_numpy(image)[None])
            for name, head in self.heads[tower].items():
                classifier = head.classifier(backbone, sampler.sigma)
                found = [
                    labels(classifier.logits_of_features(part)) for part in (clean, selection[tower], estimation[tower])
                ]
                methods[f"{tower} {name}"] = MethodCounts(
                    clean=int(found[0][0]),
                    selection=self.study.counts(found[1], classifier.n_classes),
                    estimation=self.study.counts(found[2], classifier.n_classes),
                    check=None,
                )
        return methods

    def _features(self, sampler: NoisySampler, stream: Stream, n: int) -> dict[str, Tensor]:
        """Image features (n, D) of the first n samples of a stream by each tower."""
        parts: dict[str, list[Tensor]] = {tower: [] for tower in self.towers}
        for start in range(0, n, sampler.batch_size):
            batch = sampler.batch(stream, start)
            for tower, backbone in self.towers.items():
                parts[tower].append(backbone.encode_image(batch))
        return {tower: torch.cat(of_tower)[:n] for tower, of_tower in parts.items()}


def add_classifiers(parser: argparse.ArgumentParser) -> None:
    """Declare the options of what is compared beside the adapter."""
    parser.add_argument("--towers", choices=TOWERS, nargs="+", default=TOWERS, help="what is measured")
    parser.add_argument("--prompt", help="checkpoint; default: the task's where it goes with the adapter")
    parser.add_argument("--bank", help="bank; default: the task's where it goes with the adapter")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")


def the_adapter(arguments: argparse.Namespace) -> Adapter:
    """Returns the adapter of the file that the options name, or one that is trained now."""
    if arguments.adapter is None:
        return adapter_on_mednist(arguments, backbone_of(arguments))[0]
    return load_adapter(arguments.adapter.parent, read_adapter_card(arguments.adapter.with_suffix(".json")))


def adapter_settings(arguments: argparse.Namespace, adapter: Adapter, data_sha256: str) -> AdapterSettings:
    """The settings that the options, the task card and the adapter give.

    Raises:
        Rejected: prompt_mismatch, a prompt that was named goes with another adapter.
    """
    task = shipped_tasks()[TASK]
    checkpoints = {"few_shot": arguments.prompt, "gated": arguments.bank}
    for method, prompt_id in (("few_shot", task.default_prompt), ("gated", task.default_bank)):
        if checkpoints[method] is None and prompt_id is not None:
            fits = prompt_card(SHIPPED_PROMPTS, prompt_id).adapter_sha256 in (None, adapter.card.sha256)
            checkpoints[method] = prompt_id if fits else None
    for prompt_id in filter(None, checkpoints.values()):
        require_adapter(prompt_card(arguments.prompts, prompt_id), adapter.card.sha256)
    study = StudySettings(
        backbone=adapter.card.backbone,
        backbone_sha256=adapter.card.backbone_sha256,
        class_names=task.class_names,
        template=task.template,
        checkpoints={method: prompt_id for method, prompt_id in checkpoints.items() if prompt_id},
        methods=METHODS,
        adaptation=ZeroShotAdaptation(),
        n0=arguments.n0,
        n=arguments.n,
        check_n=arguments.n,
        batch_size=arguments.batch_size,
        data_sha256=data_sha256,
        seed=arguments.seed,
        dtype=dtype_name(chosen_dtype(arguments.dtype, torch.device("cpu"))),
    )
    return AdapterSettings(study=study, adapter_sha256=adapter.card.sha256, towers=tuple(arguments.towers))
