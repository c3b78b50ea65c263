"""Measures what an adapter of the image encoder gains: certified accuracy on MedNIST test images, with and without it.

    python -m certrad.bench adapter --data mednist.zip --journal adapter.jsonl --out adapter.json

Both image towers see the same noisy samples. The template serves both; the few-shot prompt and the bank serve the
towers that they go with: those of the shipped adapter serve no other tower, and `--prompt` and `--bank` name others.
Without `--adapter`, one is trained first, as `python -m certrad.bench train-adapter` does. Every image at every sigma
is one line of the journal; a run that was stopped goes on where the journal ends.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from certrad.bench.common.accuracy_report import as_markdown, summarise
from certrad.bench.common.adapter_training import adapter_on_mednist, add_training
from certrad.bench.common.journal import Lines
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.noisy_images import Job, MethodCounts, Record, Study, StudySettings, as_input, prompt_card
from certrad.bench.common.options import add_dtype, use_threads
from certrad.bench.demo.common import backbone_of
from certrad.models.adapters.adapter import Adapter
from certrad.models.adapters.checkpoint import load_adapter, read_adapter_card
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.classifier import TextHead
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_tasks
from certrad.models.smoothing import NoisySampler, Stream, labels
from certrad.models.types import SmoothingParams, ZeroShotAdaptation
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
                    selection=self.study.counts(found[1]),
                    estimation=self.study.counts(found[2]),
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--journal", type=Path, required=True, help="scratch file, one JSON line an image and sigma")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--adapter", type=Path, help="safetensors file of an adapter, its card beside it")
    add_classifiers(parser)
    parser.add_argument("--images", type=int, default=204, help="test images, rounded up to as many of each class")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=50, help="a divisor of n0 and n")
    add_training(parser)
    add_dtype(parser)
    parser.set_defaults(backbone="demo", backbones=Path("backbones"))


def add_classifiers(parser: argparse.ArgumentParser) -> None:
    """Declare the options of what is compared beside the adapter."""
    parser.add_argument("--towers", choices=TOWERS, nargs="+", default=TOWERS, help="what is measured")
    parser.add_argument("--prompt", help="checkpoint; default: the task's where it goes with the adapter")
    parser.add_argument("--bank", help="bank; default: the task's where it goes with the adapter")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")


def run(arguments: argparse.Namespace) -> None:
    """Trains if need be, measures what the journal lacks, then writes and prints the result."""
    use_threads(arguments)
    machine = this_machine()
    adapter = the_adapter(arguments)
    settings = adapter_settings(arguments, adapter, file_sha256(arguments.data))
    towers = TwoTowers(settings, adapter, arguments.backbones, arguments.prompts)
    todo = jobs(arguments, len(settings.study.class_names))
    journal = Lines(arguments.journal, settings, Record.from_json)
    done = {(record.index, record.sigma) for record in journal.records}
    for job in tqdm([job for job in todo if (job.index, job.sigma) not in done], unit="image"):
        journal.append(towers.measure(job))
    wanted = {(job.index, job.sigma) for job in todo}
    records = [record for record in journal.records if (record.index, record.sigma) in wanted]
    params = [SmoothingParams(sigma=sigma, n0=arguments.n0, n=arguments.n) for sigma in arguments.sigmas]
    results = summarise(records, params)
    card = asdict(adapter.card)
    document = {
        "settings": asdict(settings),
        "adapter": {name: card[name] for name in ("id", "rank", "sigma_range", "training", "measured")},
        "alpha": SmoothingParams().alpha,
        "images": len(todo) // len(arguments.sigmas),
        "results": [asdict(result) for result in results],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = as_markdown(results)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


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


def jobs(arguments: argparse.Namespace, n_classes: int) -> Sequence[Job]:
    """Every test image at every sigma, class by class in turn."""
    images = read_split(arguments.data, "test")
    return [
        Job(index=index, pixels=images.pixels[index], label=int(images.labels[index]), sigma=sigma, check=False)
        for index in equal_sample(images.labels, n_classes, arguments.images, arguments.seed)
        for sigma in arguments.sigmas
    ]
