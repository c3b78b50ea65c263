"""The data sets whose splits CoOp published as `split_zhou_<Name>.json` (Zhou et al. 2022), and COVID.

Where that file is missing, the split follows the rule by which CoOp made it. CoOp shuffled without a seed, so the rule
gives the published sizes and classes but other images; only official test images are the same.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from certrad.models.datasets.files import Files
from certrad.models.datasets.listing import Item, Listing, unique
from certrad.models.datasets.sample import SplitName, coop_split, train_or_val_split

_Classes = dict[int, str]
_Images = list[tuple[str, int]]
"""Paths under the folder of the images, with labels."""


def list_class_folders(files: Files, split: SplitName) -> Listing:
    """Returns the images of a data set with one folder per class: Food-101, DTD, EuroSAT, and COVID.

    COVID has no published split. The path `images` of the card has `{}` for the class.

    Raises:
        Rejected: dataset_unavailable where a file or folder is missing; invalid_dataset where a file is not as
            published.
    """
    if published := _read_published(files, split):
        return published
    base, _, below = files.part("images").partition("{}")
    raw = files.card.raw_labels or tuple(files.folders(base or "."))
    by_label = {label: files.images(f"{base}{name}{below}") for label, name in enumerate(raw)}
    names = None if files.card.raw_labels else dict(enumerate(raw))
    return _seeded_split(files, by_label, names, lambda images: coop_split(images, split))


def list_flowers(files: Files, split: SplitName) -> Listing:
    """Returns the images of Oxford Flowers 102: labels from imagelabels.mat, names from cat_to_name.json.

    Labels and names count from 1.

    Raises:
        Rejected: dataset_unavailable where a file is missing; invalid_dataset where a file is not as published.
    """
    if published := _read_published(files, split):
        return published
    from scipy.io import loadmat  # only here, and slow to import

    try:
        labels = loadmat(files.path("imagelabels.mat"))["labels"][0].tolist()
    except (ValueError, KeyError, IndexError, TypeError):
        raise files.malformed("imagelabels.mat holds no row of labels") from None
    names = files.json("cat_to_name.json")
    by_label = defaultdict(list)
    for number, label in enumerate(labels, start=1):
        by_label[label - 1].append(f"{files.part('images')}/image_{number:05}.jpg")
    classes = {label: _class_name(names, str(label + 1), files) for label in sorted(by_label)}
    return _seeded_split(files, by_label, classes, lambda images: coop_split(images, split))


def list_pets(files: Files, split: SplitName) -> Listing:
    """Returns the images of Oxford-IIIT Pets, with the official test images.

    The breed is the file name in lower case; labels count from 1.
    """
    if published := _read_published(files, split):
        return published
    images, classes = [], {}
    for line in files.lines(f"annotations/{'test' if split == 'test' else 'trainval'}.txt"):
        name, number = _fields(line, 4, files)[:2]
        label = _number(number, files) - 1
        classes[label] = name.rpartition("_")[0].lower()
        images.append((f"{name}.jpg", label))
    return _official_split(files, split, images, classes)


def list_sun397(files: Files, split: SplitName) -> Listing:
    """Returns the images of SUN397, partition 01.

    A class name is the parts of the path after the first letter, the last one first.
    """
    if published := _read_published(files, split):
        return published
    paths = [line.strip("/") for line in files.lines("ClassName.txt")]
    classes = {label: " ".join(reversed(path.split("/")[1:])) for label, path in enumerate(paths)}
    labels = {path: label for label, path in enumerate(paths)}
    images = [
        (name, _label_of_class(labels, str(PurePosixPath(name).parent), files))
        for line in files.lines("Testing_01.txt" if split == "test" else "Training_01.txt")
        if (name := line.strip("/"))
    ]
    return _official_split(files, split, images, classes)


def list_ucf101(files: Files, split: SplitName) -> Listing:
    """Returns the images of UCF101, list 01.

    CamelCase names are split by underscores, like the folders of the middle frames.
    """
    if published := _read_published(files, split):
        return published
    numbered = [_fields(line, 2, files) for line in files.lines("ucfTrainTestlist/classInd.txt")]
    labels = {action: _number(number, files) - 1 for number, action in numbered}
    classes = {label: _split_camel_case(action) for action, label in labels.items()}
    images = []
    for line in files.lines(f"ucfTrainTestlist/{'test' if split == 'test' else 'train'}list01.txt"):
        action, _, video = line.split()[0].partition("/")
        images.append(
            (f"{_split_camel_case(action)}/{video.removesuffix('.avi')}.jpg", _label_of_class(labels, action, files))
        )
    return _official_split(files, split, images, classes)


def _read_published(files: Files, split: SplitName) -> Listing | None:
    """Returns the split in CoOp's file; None without the file.

    The file holds {"train", "val", "test": [[path, label, class name], ...]}.

    Raises:
        Rejected: invalid_dataset for another form, or a label with two names.
    """
    if "split" not in files.card.paths or not files.has(files.card.paths["split"]):
        return None
    document = files.json(files.card.paths["split"])
    base = files.part("images").partition("/{}")[0]
    try:
        rows = {
            name: [(str(path), int(label), str(title)) for path, label, title in document[name]] for name in _SPLITS
        }
    except (KeyError, TypeError, ValueError):
        raise files.malformed(f"{files.card.paths['split']} has no lists of path, label and class name") from None
    classes: _Classes = {}
    for _, label, title in (row for part in rows.values() for row in part):
        if classes.setdefault(label, title) != title:
            raise files.malformed(f"label {label} is both {classes[label]!r} and {title!r}")
    items = unique((Item(f"{base}/{path}", label) for path, label, _ in rows[split]), files)
    return Listing(items=items, read=files.image, class_names=_in_order(classes, files))


def _official_split(files: Files, split: SplitName, images: _Images, classes: _Classes) -> Listing:
    """Returns all official test images, or the other images split by class into training and validation."""
    base, by_label = files.part("images"), defaultdict(list)
    for name, label in images:
        by_label[label].append(f"{base}/{name}")
    if split == "test":
        items = unique((Item(f"{base}/{name}", label) for name, label in images), files)
        return Listing(items=items, read=files.image, class_names=_in_order(classes, files))
    return _seeded_split(files, by_label, classes, lambda names: train_or_val_split(names, split))


def _seeded_split(
    files: Files,
    by_label: Mapping[int, Sequence[str]],
    classes: _Classes | None,
    part: Callable[[Sequence[str]], list[str]],
) -> Listing:
    items = unique((Item(name, label) for label, names in by_label.items() for name in part(names)), files)
    names = None if classes is None else _in_order(classes, files)
    return Listing(items=items, read=files.image, class_names=names, rule="seeded")


def _in_order(classes: _Classes, files: Files) -> tuple[str, ...]:
    if sorted(classes) != list(range(len(classes))):
        raise files.malformed(f"the labels must be 0..{len(classes) - 1}; got {sorted(classes)[:3]}, ...")
    return tuple(classes[label] for label in range(len(classes)))


def _split_camel_case(action: str) -> str:
    return "_".join(re.findall("[A-Z][^A-Z]*", action))


def _fields(line: str, count: int, files: Files) -> list[str]:
    fields = line.split()
    if len(fields) != count:
        raise files.malformed(f"each line must have {count} fields; got {len(fields)}")
    return fields


def _number(text: str, files: Files) -> int:
    if not text.isdecimal():
        raise files.malformed(f"a label must be a number; got {text!r}")
    return int(text)


def _label_of_class(labels: Mapping[str, int], name: str, files: Files) -> int:
    if name not in labels:
        raise files.malformed(f"the class {name!r} is not in the list of classes")
    return labels[name]


def _class_name(names: Any, key: str, files: Files) -> str:  # noqa: ANN401  # whatever the JSON file holds
    if not isinstance(names, dict) or key not in names:
        raise files.malformed(f"cat_to_name.json names no class {key}")
    return str(names[key])


_SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
