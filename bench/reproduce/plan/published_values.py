"""The values that the papers print, from the files in `published/`, by the place of their cell."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certrad.bench.reproduce.plan.experiment import AnyExperiment
from certrad.bench.reproduce.run.result import Place

PUBLISHED: Final = Path(__file__).parents[1] / "published"

BACKBONES: Final = {
    "PLIP": "plip",
    "MedCLIP": "medclip-vit",
    "ViT-B/16": "clip-vit-b-16",
    "ViT-L/14": "clip-vit-l-14",
}
DATASETS: Final = {
    "KatherColon": "kathercolon",
    "COVID": "covid",
    "RSNA": "rsna",
    "Flowers": "flowers",
    "Pets": "pets",
    "Food101": "food101",
    "SUN397": "sun397",
    "DTD": "dtd",
    "EuroSAT": "eurosat",
    "UCF101": "ucf101",
    "ImageNet": "imagenet",
    "ImageNetV2": "imagenetv2",
    "ImageNet-A": "imagenet-a",
    "ImageNet-R": "imagenet-r",
    "ImageNet-Sketch": "imagenet-sketch",
}
"""The papers' names -> ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A printed value; detail: what is printed with it, the accuracy at radius 0 of the same sigma, or a word."""

    value: float
    detail: str = ""


Row = Mapping[str, str]
Reader = Callable[[Row], Iterator[tuple[Place, Printed]]]


def published_values(experiment: AnyExperiment) -> dict[Place, Printed]:
    """Every printed value of the table of an experiment, by place; empty where the paper prints none."""
    if experiment.published is None:
        return {}
    read = READERS[experiment.published]
    with (PUBLISHED / experiment.published).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("table", _table(experiment)) == _table(experiment)]
    return dict(pair for row in rows for pair in read(row))


def column_of_radius(radius: float) -> str:
    """The name of the column of a radius; 0 counts what is certified at all."""
    return f"R ≥ {radius:g}" if radius else "certified"


def row_behind(defence: str, method: str) -> str:
    """The name of the row of a method behind a defence."""
    return method if defence == "none" else f"{defence} + {method}"


def _table(experiment: AnyExperiment) -> str:
    """Returns the name of a table in a file of several tables."""
    return experiment.source.lower().replace(" ", "")


def _certified(row: Row) -> Iterator[tuple[Place, Printed]]:
    column = column_of_radius(float(row["radius"]))
    place = Place(BACKBONES[row["model"]], DATASETS[row["dataset"]], row["method"], column)
    clean = f"clean {float(row['clean_acc_same_sigma']):g}"
    yield place, Printed(value=float(row["certified_acc"]), detail=clean)


def _first_context(row: Row) -> Iterator[tuple[Place, Printed]]:
    place = Place("plip", "kathercolon", row["prompt"], column_of_radius(float(row["radius"])))
    yield place, Printed(value=float(row["certified_acc"]))


def _seconds(row: Row) -> Iterator[tuple[Place, Printed]]:
    columns = {"training": "training_s", "certificate": "certification_per_sample_s"}
    for column, name in columns.items():
        if row[name]:
            yield Place("plip", "kathercolon", row["method"], column), Printed(value=float(row[name]))


def _attacked(row: Row) -> Iterator[tuple[Place, Printed]]:
    threat = row.get("attack", _threat_of(row)).replace("robust", "pgd40")
    method = row.get("method") or row.get("prompt") or "linear_probe"
    name = row_behind(row.get("defense", "none"), method)
    for dataset, of_ours in DATASETS.items():
        if row.get(dataset):
            yield Place(BACKBONES[row["backbone"]], of_ours, name, threat), Printed(value=float(row[dataset]))


def _threat_of(row: Row) -> str:
    return row.get("threat", "pgd40")


def _autoattack(row: Row) -> Iterator[tuple[Place, Printed]]:
    return _attacked({**row, "threat": "autoattack"})


def _nearest(row: Row) -> Iterator[tuple[Place, Printed]]:
    place = Place("clip-vit-b-16", DATASETS[row["dataset"]], row["rank"], "distance")
    yield place, Printed(value=float(row["euclidean_distance"]), detail=row["word"])


READERS: Final[dict[str, Reader]] = {
    "promptsmooth_certified.csv": _certified,
    "promptsmooth_table4_noisy_context.csv": _first_context,
    "promptsmooth_table5_time_seconds.csv": _seconds,
    "advpt_table1_vanilla_vs_advpt.csv": _attacked,
    "advpt_table2_defenses_pgd40.csv": _attacked,
    "advpt_table3_autoattack.csv": _autoattack,
    "advpt_table4_linear_probe.csv": _attacked,
    "advpt_table5_nearest_words.csv": _nearest,
    "advpt_fig6_domain_shift.csv": _attacked,
}
