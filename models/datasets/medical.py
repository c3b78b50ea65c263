"""PanNuke, SICAPv2 and the skin tissue of Kriegsmann et al."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.datasets.files import Files
from certrad.models.datasets.listing import Item, Listing, label_of, unique
from certrad.models.datasets.sample import SplitName, coop_split
from certrad.models.errors import Rejected

BENIGN: Final = 0
MALIGNANT: Final = 1
_FOLDS: Final = (1, 2, 3)
_NUCLEI: Final = slice(0, 5)
_NEOPLASTIC: Final = 0
_FEWEST_NEOPLASTIC: Final = 10
_NEOPLASTIC_SHARE: Final = 0.3
_PLIP_SEED: Final = 1
_PLIP_TRAIN_SHARE: Final = 0.7


def list_skincancer(files: Files, split: SplitName) -> Listing:
    """Returns the images in tiles-v2.csv: one row per tile with its class and its set; paths start above its folder."""
    wanted, table = files.part(split), files.part("table")
    items = [
        Item(row["file"], label_of(row["class"], files))
        for row in files.rows(table, ("file", "class", "set"))
        if row["set"] == wanted
    ]
    return Listing(items=unique(items, files), read=files.image)


def list_sicapv2(files: Files, split: SplitName) -> Listing:
    """Returns the images of SICAPv2: a sheet for each split with a column for each grade.

    The label is the first of the largest grades.
    """
    base, columns = files.part("images"), files.card.raw_labels
    items = []
    for row in _read_sheet(files, files.part(split), ("image_name", *columns)):
        grades = [float(row[column] or 0) for column in columns]
        items.append(Item(f"{base}/{row['image_name']}", grades.index(max(grades))))
    return Listing(items=unique(items, files), read=files.image)


def list_pannuke(files: Files, split: SplitName) -> Listing:
    """Returns the images of PanNuke with the labels and the split of PLIP (Huang et al. 2023).

    The recipe is that of preprocess_PanNuke.py and _dataset_loader.py. Images without nuclei are dropped. Malignant: at
    least 10 neoplastic nuclei and more than 30% of all; benign: none; other images are dropped. 70% of each tissue and
    label are for training, drawn as pandas' `sample` draws with seed 1. Counts follow PLIP's code: different values
    minus one in each of the six channels of the mask, as 8-bit integers.

    Raises:
        Rejected: dataset_unavailable for the split `val` or a missing file; invalid_dataset where a file is not as
            published.
    """
    if split == "val":
        raise files.unpublished(split, ("train", "test"))
    folds = [_fold(files, number) for number in _FOLDS]
    labelled = [
        (f"{fold.relative_to(files.root).as_posix()}/images/{fold_name}/images.npy#{index}", tissue, label)
        for (fold, fold_name) in folds
        for index, tissue, label in _label_images(files, fold, fold_name)
    ]
    malignant_first = [row for label in (MALIGNANT, BENIGN) for row in labelled if row[2] == label]
    rows = [malignant_first[place] for place in _pandas_order(len(malignant_first))]
    items = []
    for tissue, label in {(tissue, label) for _, tissue, label in rows}:
        names = [name for name, its_tissue, its_label in rows if (its_tissue, its_label) == (tissue, label)]
        shuffled = [names[place] for place in _pandas_order(len(names))]
        cut = int(len(shuffled) * _PLIP_TRAIN_SHARE)
        items += [Item(name, label) for name in (shuffled[:cut] if split == "train" else shuffled[cut:])]

    def read(name: str) -> NDArray[np.uint8]:
        path, _, index = name.rpartition("#")
        return np.asarray(_map_array(files, files.root / path)[int(index)], dtype=np.uint8)

    return Listing(items=unique(items, files), read=read)


def _fold(files: Files, number: int) -> tuple[Path, str]:
    """Returns the folder to which the zip of a fold is unpacked: at the top, or in a folder named after the zip."""
    nested = f"fold_{number}/Fold {number}"
    return files.path(nested if files.has(nested) else f"Fold {number}"), f"fold{number}"


def _label_images(files: Files, fold: Path, name: str) -> Iterator[tuple[int, str, int]]:
    """Yields (index, tissue, label) for the images of a fold that get a label."""
    tissues = _map_array(files, fold / "images" / name / "types.npy")
    masks = _map_array(files, fold / "masks" / name / "masks.npy")
    if len(tissues) != len(masks):
        raise files.malformed(f"{name} has {len(tissues)} tissue types and {len(masks)} masks")
    for index, tissue in enumerate(tissues.tolist()):
        label = _binary_label(np.asarray(masks[index]).astype(np.uint8))
        if label is not None:
            yield index, str(tissue).lower().replace("_", " "), label


def _binary_label(mask: NDArray[np.uint8]) -> int | None:
    """Returns PLIP's label of a mask (256, 256, 6); None for an image that is dropped."""
    if not mask[..., _NUCLEI].any():
        return None
    counts = [np.count_nonzero(np.bincount(channel.ravel())) - 1 for channel in np.moveaxis(mask, -1, 0)]
    neoplastic = counts[_NEOPLASTIC]
    if neoplastic == 0:
        return BENIGN
    enough = neoplastic >= _FEWEST_NEOPLASTIC and neoplastic / sum(counts) > _NEOPLASTIC_SHARE
    return MALIGNANT if enough else None


def _pandas_order(n: int) -> list[int]:
    """Returns the order that `DataFrame.sample(frac=1, random_state=1)` gives n rows."""
    order: list[int] = np.random.RandomState(_PLIP_SEED).permutation(n).tolist()
    return order


def _map_array(files: Files, path: Path) -> NDArray[Any]:
    """Returns a .npy file, mapped into memory; pickled objects are not read."""
    if not path.exists():
        raise files.missing(path.relative_to(files.root).as_posix())
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError):
        raise files.malformed(f"{path.name} is not a plain .npy array; pickled ones are not read") from None
    return array


def _read_sheet(files: Files, name: str, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yields the rows of the first sheet of an Excel file, by its header.

    Raises:
        Rejected: dataset_unavailable without the file or openpyxl; invalid_dataset where it has another form.
    """
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise Rejected(
            "dataset_unavailable", f"{files.card.id}: {name} needs openpyxl; install the extra `evaluate`"
        ) from None
    path = files.path(name)
    try:
        with path.open("rb") as file:
            sheet = load_workbook(file, read_only=True, data_only=True).worksheets[0]
            header, *rows = [list(row) for row in sheet.iter_rows(values_only=True)] or [[]]
    except (InvalidFileException, KeyError, OSError, ValueError):
        raise files.malformed(f"{name} is not an Excel file") from None
    if absent := [column for column in columns if column not in header]:
        raise files.malformed(f"{name} has no column {', '.join(absent)}")
    for row in rows:
        if row[header.index("image_name")] is not None:
            yield dict(zip(header, row, strict=True))


def list_rsna(files: Files, split: SplitName) -> Listing:
    """Returns the labelled images, split by patient with a fixed seed.

    A patient with several findings is one row of each.
    """
    base, rows = files.part("images"), files.rows(files.part("table"), ("patientId", "class"))
    patients = unique((Item(f"{base}/{row['patientId']}.dcm", label_of(row["class"], files)) for row in rows), files)
    items = (
        Item(name, label)
        for label in range(len(files.card.raw_labels))
        for name in coop_split([item.name for item in patients if item.label == label], split)
    )
    return Listing(items=unique(items, files), read=files.image, rule="seeded")
