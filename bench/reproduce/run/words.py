"""The words nearest to learned context vectors, and how near those of random vectors are."""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.bench.reproduce.plan.experiment import NearestWords
from certrad.bench.reproduce.plan.plan import as_in_advpt
from certrad.bench.reproduce.run.learned import prompt_of_embeddings
from certrad.bench.reproduce.run.materials import Materials
from certrad.bench.reproduce.run.result import Cell, Place, missing_cells
from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.nearest_words import NearWord
from certrad.models.prompts.nearest_words import nearest_words as words_near
from certrad.models.randomness import seeded

DISTANCE: Final = "distance"
RANDOM: Final = "random vectors"
"""Random vectors for comparison, as many and as long as the learned ones: any vector has a nearest word."""


def nearest_words(experiment: NearestWords, materials: Materials) -> list[Cell]:
    """The nearest words over all context vectors of a prompt; beside each, what random vectors come to."""
    cells = []
    for backbone_id in experiment.backbones:
        for dataset in experiment.datasets:
            try:
                cells += _of_pair(experiment, materials, backbone_id, dataset)
            except Rejected as rejected:
                places = [Place(backbone_id, dataset, str(rank + 1), DISTANCE) for rank in range(experiment.words)]
                cells += missing_cells(places, rejected)
    return cells


def _of_pair(experiment: NearestWords, materials: Materials, backbone_id: str, dataset: str) -> list[Cell]:
    backbone = materials.backbone(backbone_id)
    train = materials.split(dataset, "train")
    tuning = replace(as_in_advpt(experiment.tuning, backbone_id, dataset), seed=experiment.seed)
    learned = prompt_of_embeddings(materials, backbone, dataset, train, tuning)
    vectors = learned.context.vectors.flatten(0, -2)
    directions = F.normalize(torch.randn(vectors.shape, generator=seeded(experiment.seed, "random words")), dim=-1)
    random = directions * vectors.norm(dim=-1, keepdim=True)
    return [
        Cell(
            place=Place(backbone_id, dataset, str(rank), DISTANCE),
            condition=condition,
            value=near.distance,
            detail=near.word,
        )
        for condition, of in (("", vectors), (RANDOM, random))
        for rank, near in enumerate(_nearest(backbone, of, experiment.words), start=1)
    ]


def _nearest(backbone: Backbone, vectors: Tensor, words: int) -> list[NearWord]:
    """The words nearest to any of the vectors (V, d), each once, the nearest first."""
    found = [near for of_vector in words_near(backbone, vectors, words) for near in of_vector]
    furthest_first = sorted(found, key=lambda near: near.distance, reverse=True)
    nearest = {near.token: near for near in furthest_first}
    return sorted(nearest.values(), key=lambda near: near.distance)[:words]
