"""Data sets with one folder for each split, and in it one for each class."""

from typing import Final

from certrad.models.datasets.files import Files
from certrad.models.datasets.listing import Item, Listing, unique
from certrad.models.datasets.sample import SplitName
from certrad.models.errors import Rejected

_FEWEST_CLASSES: Final = 2


def list_split_folders(files: Files, split: SplitName) -> Listing:
    """Returns the images of NCT-CRC-HE or MedNIST: folders by split, and in them by class, named as the card says."""
    return _by_folder(files, files.part(split), files.card.raw_labels)


def list_own_folders(files: Files, split: SplitName) -> Listing:
    """Returns the images of the operator's own data.

    The data set has the folders `train`, `val` and `test` with a folder for each class, or only a folder for each
    class. The classes are named after their folders, in sorted order. Where there is no folder of any split, every
    split holds all images.

    Raises:
        Rejected: dataset_unavailable where this split has no folder, or there are fewer than two classes.
    """
    splits = [name for name in ("train", "val", "test") if files.has(name)]
    if splits and split not in splits:
        raise files.missing(split)
    base = split if splits else "."
    classes = tuple(files.folders(base))
    if len(classes) < _FEWEST_CLASSES:
        raise Rejected(
            "dataset_unavailable",
            f"{files.card.id}: {files.root / base} must hold folders for at least two classes; got {len(classes)}",
        )
    listing = _by_folder(files, base, classes)
    return Listing(items=listing.items, read=listing.read, class_names=classes)


def _by_folder(files: Files, base: str, classes: tuple[str, ...]) -> Listing:
    named = (Item(name, label) for label, folder in enumerate(classes) for name in files.images(f"{base}/{folder}"))
    return Listing(items=unique(named, files), read=files.image)


def list_imagenet(files: Files, split: SplitName) -> Listing:
    """Returns the images of ImageNet or ImageNet-Sketch: a folder for each wnid of `classnames.txt`, sorted."""
    names = _class_names(files)
    for wnid in sorted(names):
        files.path(f"{files.part(split)}/{wnid}")  # else the labels would shift
    return _by_wnid(files, split, names)


def list_imagenet_subset(files: Files, split: SplitName) -> Listing:
    """Returns the images of ImageNet-A or ImageNet-R: folders of some wnids of `classnames.txt`, in sorted order."""
    return _by_wnid(files, split, _class_names(files))


def list_imagenet_ordinals(files: Files, split: SplitName) -> Listing:
    """Returns the images of ImageNet-V2: folder `i` holds the class of line i of `classnames.txt`, from 0."""
    names, base = tuple(_class_names(files).values()), files.part(split)
    items = (Item(name, label) for label in range(len(names)) for name in files.images(f"{base}/{label}"))
    return Listing(items=unique(items, files), read=files.image, class_names=names)


def _by_wnid(files: Files, split: SplitName, names: dict[str, str]) -> Listing:
    base = files.part(split)
    wnids = files.folders(base)
    if unknown := [wnid for wnid in wnids if wnid not in names]:
        raise files.malformed(f"classnames.txt does not name the folder {unknown[0]}")
    items = (Item(name, label) for label, wnid in enumerate(wnids) for name in files.images(f"{base}/{wnid}"))
    return Listing(items=unique(items, files), read=files.image, class_names=tuple(names[wnid] for wnid in wnids))


def _class_names(files: Files) -> dict[str, str]:
    """Returns the name of each wnid, in the order of the file."""
    pairs = (line.partition(" ") for line in files.lines("classnames.txt"))
    return {wnid: name.strip() for wnid, _, name in pairs}
