"""Clean and attacked accuracy of every method of an experiment, behind every defence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from certrad.bench.reproduce.plan.experiment import AttackedAccuracy, AttackedMethod, Defence, Threat
from certrad.bench.reproduce.plan.plan import as_in_advpt, images_in_advpt
from certrad.bench.reproduce.plan.published_values import row_behind
from certrad.bench.reproduce.run.attack_pass import AttackPass, Batch, ReadyRow, made_of, purifier
from certrad.bench.reproduce.run.learned import embeddings, prompt_of_embeddings
from certrad.bench.reproduce.run.materials import Materials, joined_sha256, listing_sha256, test_images
from certrad.bench.reproduce.run.result import KNOWN, NOT_KNOWN, Cell, Place, missing_cells, share_cell
from certrad.bench.reproduce.run.surrogates import TrainedSurrogate, trained_surrogate
from certrad.bench.reproduce.run.units import Kept, Workforce
from certrad.models.backbones.base import Backbone
from certrad.models.baselines.linear_probe import LinearHead, search
from certrad.models.datasets.split import Split
from certrad.models.errors import Rejected
from certrad.models.prompts.context import template_features, text_features


def attacked_accuracy(experiment: AttackedAccuracy, materials: Materials) -> list[Cell]:
    """The cells of every pair of backbone and data set; of what is missing, cells that say so."""
    header = {"experiment": asdict(experiment), "device": materials.device}
    kept = Kept(materials.out / experiment.id, header)
    return [
        cell
        for backbone_id in experiment.backbones
        for dataset in experiment.datasets
        for cell in _of_pair(experiment, materials, backbone_id, dataset, kept)
    ]


def _of_pair(
    experiment: AttackedAccuracy, materials: Materials, backbone_id: str, dataset: str, kept: Kept
) -> list[Cell]:
    pair = (backbone_id, dataset)
    try:
        backbone, test = materials.pair(backbone_id, dataset)
        rows = tuple(_ready(method, experiment, materials, backbone, dataset, test) for method in experiment.methods)
    except Rejected as rejected:
        return _missing(experiment, pair, experiment.threats, experiment.defences, rejected)
    cells: list[Cell] = []
    images = test_images(test, images_in_advpt(experiment.images, dataset), experiment.seed)
    # What needs something that may be missing has units of its own, so that all else runs without it.
    for threat in experiment.threats:
        for defence in experiment.defences:
            try:
                of = _pass(experiment, materials, backbone, dataset, rows, threat, defence)
            except Rejected as rejected:
                cells += _missing(experiment, pair, (threat,), (defence,), rejected)
                continue
            behind = purifier(defence, materials, backbone.image_size)
            named = "none" if behind is None else behind.name
            source = (f"{backbone_id} {backbone.sha256[:16]}", dataset, threat, named, made_of(of, test)[:16])
            units = [
                ((*source, start), Batch(indices=tuple(images[start : start + experiment.batch_size])))
                for start in range(0, len(images), experiment.batch_size)
            ]
            title = f"{experiment.id}: {backbone_id}, {dataset}, {threat}, {defence}"
            values = Workforce(of, materials.processes).compute(units, kept, title)
            cells += _cells(pair, threat, defence, named, values)
    return cells


def _pass(
    experiment: AttackedAccuracy,
    materials: Materials,
    backbone: Backbone,
    dataset: str,
    rows: tuple[ReadyRow, ...],
    threat: Threat,
    defence: Defence,
) -> AttackPass:
    """One threat against one defence; raises Rejected where the defence or the surrogate is missing."""
    purifier(defence, materials, backbone.image_size)
    surrogate: TrainedSurrogate | None = None
    if threat == "rap":
        surrogate = trained_surrogate(materials, backbone.card, dataset, experiment.seed)
    return AttackPass(
        materials=materials,
        backbone=backbone.card.id,
        dataset=dataset,
        rows=rows,
        threat=threat,
        defence=defence,
        epsilon=experiment.epsilon,
        steps=experiment.steps,
        auto_attack=experiment.auto_attack,
        seed=experiment.seed,
        surrogate=surrogate,
    )


def _cells(
    pair: tuple[str, str], threat: Threat, defence: Defence, named: str, values: Sequence[Mapping[str, Any]]
) -> list[Cell]:
    """One cell a row and condition, over all batches."""
    labels = [label for value in values for label in value["labels"]]
    digest = joined_sha256([sha256 for value in values for sha256 in value["pixels_sha256"]])
    cells = []
    for batches in zip(*(value["found"] for value in values), strict=True):
        answered = [answer for batch in batches for answer in batch["classes"]]
        hits = [answer == label for answer, label in zip(answered, labels, strict=True)]
        row, condition, attack = (batches[0][key] for key in ("row", "condition", "attack"))
        detail = attack if defence == "none" else f"{attack}; behind {named}"
        place = Place(*pair, row_behind(defence, row), threat)
        cells.append(share_cell(place, hits, condition=condition, detail=detail, digest=digest))
    return cells


def _missing(
    experiment: AttackedAccuracy,
    pair: tuple[str, str],
    threats: Sequence[Threat],
    defences: Sequence[Defence],
    needs: Rejected,
) -> list[Cell]:
    return [
        cell
        for threat in threats
        for condition in (("",) if threat == "clean" else (NOT_KNOWN, KNOWN))
        for cell in missing_cells(
            [
                Place(*pair, row_behind(defence, method.name), threat)
                for defence in defences
                for method in experiment.methods
            ],
            needs,
            condition=condition,
        )
    ]


def _ready(
    method: AttackedMethod,
    experiment: AttackedAccuracy,
    materials: Materials,
    backbone: Backbone,
    dataset: str,
    test: Split,
) -> ReadyRow:
    """A method with its prompt or probe learned; raises Rejected where the training images are missing."""
    source = experiment.trained_on or dataset
    if method.probe:
        return ReadyRow(
            name=method.name,
            probe=_probe(materials, backbone, source, experiment.training_images, experiment.seed),
            sha256=listing_sha256(materials.split(source, "train")),
        )
    if method.tuning is None:
        with torch.no_grad():
            texts = template_features(backbone, test.class_names, test.template or "{}")
        return ReadyRow(name=method.name, text_features=texts)
    tuning = replace(as_in_advpt(method.tuning, backbone.card.id, source), seed=experiment.seed)
    train = materials.split(source, "train")
    learned = prompt_of_embeddings(materials, backbone, source, train, tuning)
    with torch.no_grad():
        texts = text_features(backbone, test.class_names, learned.context)
    return ReadyRow(name=method.name, text_features=texts, sha256=learned.card.sha256)


def every_fifth(chosen: Sequence[int], split: Split) -> tuple[list[int], list[int]]:
    """Returns every fifth of the chosen images of each class, and the others."""
    by_class = sorted(chosen, key=split.label)
    return by_class[::5], [index for at, index in enumerate(by_class) if at % 5]


def _probe(materials: Materials, backbone: Backbone, dataset: str, images: int | None, seed: int) -> LinearHead:
    """CoOp's linear probe on the features of the training images, its penalty chosen on the validation images.

    images: as many of the training images; None takes all. Where no validation images are published, they are a fifth.
    """
    train = materials.split(dataset, "train")
    chosen = test_images(train, images, seed)
    try:
        validation = materials.split(dataset, "val")
        held_out = test_images(validation, images, seed)
    except Rejected:
        validation, held_out, chosen = train, *every_fifth(chosen, train)
    fitted, validated = (
        (embeddings(materials, backbone, split, indices, None)[0], torch.from_numpy(split.labels[indices]))
        for split, indices in ((train, chosen), (validation, held_out))
    )
    return search(fitted, validated, len(train.class_names))
