"""Accuracy against seconds of training: a prompt by AdvPT, the image encoder by adversarial training and by Fast AT."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

from certrad.bench.reproduce.plan.experiment import TrainingEfficiency
from certrad.bench.reproduce.plan.plan import as_in_advpt
from certrad.bench.reproduce.run.learned import prompt_of_embeddings
from certrad.bench.reproduce.run.materials import (
    Materials,
    inputs,
    joined_sha256,
    listing_sha256,
    pixels_sha256,
    test_images,
)
from certrad.bench.reproduce.run.result import KNOWN, NOT_KNOWN, Cell, Place, missing_cells, share_cell
from certrad.bench.reproduce.run.units import Kept
from certrad.models.attacks.base import attacked, classes
from certrad.models.attacks.pgd import ADAPTIVE_PGD_40, PGD_40, adaptive_pgd, embedding_pgd
from certrad.models.backbones.base import Backbone
from certrad.models.baselines.adversarial_training import TrainingParams, train
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.datasets.split import Split
from certrad.models.defences.purifier import defend
from certrad.models.errors import Rejected
from certrad.models.prompts.context import template_features, text_features
from certrad.models.randomness import seeded

SECONDS: Final = "training seconds"
CLEAN: Final = "clean"
ROWS: Final[dict[str, Literal["pgd", "fast"]]] = {"adversarial training": "pgd", "Fast AT": "fast"}
PROMPT: Final = "advpt"


def training_efficiency(experiment: TrainingEfficiency, materials: Materials) -> list[Cell]:
    """Seconds, clean accuracy and accuracy under PGD-40 of every training, and of a template, which needs none."""
    header = {"experiment": asdict(experiment), "device": materials.device}
    kept = Kept(materials.out / experiment.id, header)
    cells = []
    for backbone_id in experiment.backbones:
        for dataset in experiment.datasets:
            try:
                cells += Trainings(experiment, materials, backbone_id, dataset).cells(kept)
            except Rejected as rejected:
                rows = [
                    Place(backbone_id, dataset, row, column) for row in (PROMPT, *ROWS) for column in (SECONDS, "pgd40")
                ]
                cells += missing_cells(rows, rejected)
    return cells


class Trainings:
    """The trainings of one pair of backbone and data set."""

    def __init__(self, experiment: TrainingEfficiency, materials: Materials, backbone_id: str, dataset: str) -> None:
        self.experiment, self.materials, self.dataset = experiment, materials, dataset
        self.backbone, self.test = materials.pair(backbone_id, dataset)
        self.train = materials.split(dataset, "train")
        self.chosen = test_images(self.test, experiment.images, experiment.seed)
        with torch.no_grad():
            self.texts = template_features(self.backbone, self.test.class_names, self.test.template or "{}")

    def cells(self, kept: Kept) -> list[Cell]:
        """The cells of every training; what `kept` lacks is trained, measured and kept."""
        cells = []
        listed = joined_sha256([listing_sha256(self.test), listing_sha256(self.train)])[:16]
        for row, epochs in self.all():
            key = (self.backbone.card.id, self.backbone.sha256[:16], self.dataset, listed, row, epochs)
            if key not in kept:
                kept.keep(key, self.measure(row, epochs))
            cells += _cells(self.backbone.card.id, self.dataset, row, epochs, kept[key])
        return cells

    def all(self) -> Iterator[tuple[str, int]]:
        """Row and epochs of every training; none at all is the template."""
        yield "vanilla", 0
        for epochs in self.experiment.prompt_epochs:
            yield PROMPT, epochs
        for row in ROWS:
            for epochs in self.experiment.encoder_epochs:
                yield row, epochs

    def measure(self, row: str, epochs: int) -> dict[str, Any]:
        """Train, and label the test images, clean and attacked."""
        if row == "vanilla":
            return {"seconds": 0.0, **self._accuracy(self.backbone, self.texts)}
        if row == PROMPT:
            tuning = as_in_advpt(self.experiment.tuning, self.backbone.card.id, self.dataset)
            params = replace(tuning, epochs=epochs, seed=self.experiment.seed)
            learned = prompt_of_embeddings(self.materials, self.backbone, self.dataset, self.train, params)
            with torch.no_grad():
                texts = text_features(self.backbone, self.train.class_names, learned.context)
            return {"seconds": learned.seconds, **self._accuracy(self.backbone, texts)}
        return self._encoder(ROWS[row], epochs)

    def _encoder(self, method: Literal["pgd", "fast"], epochs: int) -> dict[str, Any]:
        chosen = test_images(self.train, self.experiment.training_images, self.experiment.seed)
        labels = torch.from_numpy(self.train.labels[chosen])
        steps = -(-len(chosen) // self.experiment.batch_size) * epochs
        params = TrainingParams(
            method=method, steps=steps, batch_size=self.experiment.batch_size, seed=self.experiment.seed
        )

        def images(indices: Tensor) -> Tensor:
            return inputs(self.train, [chosen[index] for index in indices.tolist()], self.backbone.card)

        trained = train(self.backbone, self.texts, images, labels, params)
        return {"seconds": trained.seconds, **self._accuracy(trained.backbone, self.texts)}

    def _accuracy(self, backbone: Backbone, texts: Tensor) -> dict[str, Any]:
        """Returns whether each test image is answered rightly: clean, and under the papers' and the adaptive attack."""
        classify = defend(None, VisionLanguageClassifier(backbone, texts).logits)
        not_known, known = (
            replace(params, epsilon=self.experiment.epsilon, steps=self.experiment.steps)
            for params in (PGD_40, ADAPTIVE_PGD_40)
        )
        attacks = {NOT_KNOWN: embedding_pgd(backbone, not_known), KNOWN: adaptive_pgd(classify, known)}
        hits: dict[str, list[bool]] = {CLEAN: [], NOT_KNOWN: [], KNOWN: []}
        digests = []
        for images, labels, first in batches(self.test, self.chosen, backbone, self.experiment.batch_size):
            digests += [pixels_sha256(image) for image in images]
            seen = {CLEAN: images}
            for name, attack in attacks.items():
                generator = seeded(self.experiment.seed, name, first)
                seen[name] = attacked(attack, images, labels, epsilon=self.experiment.epsilon, generator=generator)
            for name, pixels in seen.items():
                hits[name] += (classes(classify, pixels, seeded(self.experiment.seed)) == labels).tolist()
        return {"hits": hits, "digest": joined_sha256(digests)}


def batches(split: Split, chosen: list[int], backbone: Backbone, size: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Pixels and labels of some images, on the CPU, and the index of the first of them."""
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        yield inputs(split, part, backbone.card), torch.from_numpy(split.labels[part]), part[0]


def _cells(backbone: str, dataset: str, row: str, epochs: int, value: dict[str, Any]) -> list[Cell]:
    at = Place(backbone, dataset, f"{row}, {epochs} epochs" if epochs else row, SECONDS)
    cells = [Cell(place=at, value=value["seconds"])]
    for key, hits in value["hits"].items():
        column, condition = (key, "") if key == CLEAN else ("pgd40", key)
        cells.append(share_cell(at._replace(column=column), hits, condition=condition, digest=value["digest"]))
    return cells
