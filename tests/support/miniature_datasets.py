"""Data sets of both papers in miniature: their published folders, tables and names, with pictures of a few pixels."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from openpyxl import Workbook
from scipy.io import savemat

from certrad.models.shipped import shipped_datasets
from tests.support import images
from tests.support.mednist_zip import write_mednist_zip

CARDS = shipped_datasets()
WNIDS = {"n01440764": "tench", "n01443537": "goldfish", "n02085620": "Chihuahua"}
Writer = Callable[[Path], None]


def picture(path: Path, level: int = 128, side: int = 10) -> None:
    """A grey picture of one level, of the kind its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "JPEG": "JPEG", "png": "PNG", "tif": "TIFF"}[path.suffix[1:]]
    path.write_bytes(images.encoded(np.full((side, side), level, dtype=np.uint8), kind))


def text(path: Path, *lines: str) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(header), *map(list, rows)])


def kathercolon(root: Path) -> None:
    """Two training images of each tissue and one test image; one name occurs in every class, as none may be lost."""
    for label, folder in enumerate(CARDS["kathercolon"].raw_labels):
        for name in ("same.tif", f"{folder}-A.tif"):
            picture(root / "NCT-CRC-HE-100K" / folder / name, level=20 * label)
        picture(root / "CRC-VAL-HE-7K" / folder / "same.tif", level=20 * label)
        text(root / "CRC-VAL-HE-7K" / folder / ".DS_Store")


def mask(neoplastic: int, other: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A mask of that many nuclei of one pixel, with the background in the last channel as PanNuke has it."""
    channels = np.zeros((16, 16, 6))
    channels[..., 0].flat[:neoplastic] = 1 + np.arange(neoplastic)
    channels[..., 1].flat[100 : 100 + other] = 1 + np.arange(other)
    channels[..., 5] = (channels[..., :5].sum(axis=-1) == 0).astype(float)
    return channels


def pannuke(root: Path) -> None:
    """Twelve images a fold: five malignant and three benign ones of one tissue, a benign one of another, three dropped.

    Dropped are one without nuclei, one with 9 neoplastic nuclei, and one with 10 of 34, which with the background, as
    PLIP counts, are no more than 30%.
    """
    kinds = [*[(10, 5)] * 5, *[(0, 4)] * 3, (0, 9), (0, 0), (9, 0), (10, 23)]
    tissues = np.array(["Breast"] * 8 + ["Adrenal_gland"] + ["Breast"] * 3)
    for fold in (1, 2, 3):
        pictures = np.stack([np.full((16, 16, 3), float(10 * index + fold)) for index in range(len(kinds))])
        for kind, array in (("images", pictures), ("types", tissues)):
            save(root / f"Fold {fold}/images/fold{fold}/{kind}.npy", array)
        save(root / f"Fold {fold}/masks/fold{fold}/masks.npy", np.stack([mask(*kind) for kind in kinds]))


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    """A .npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def sicapv2(root: Path) -> None:
    """Three training images and four test images, one of each grade."""
    grades = {
        "n1.jpg": (1, 0, 0, 0, 0),
        "g3.jpg": (0, 1, 0, 0, 0),
        "g4.jpg": (0, 0, 1, 0, 1),
        "g5.jpg": (0, 0, 0, 1, 0),
    }
    for name, chosen in (("Train", list(grades)[:3]), ("Test", list(grades))):
        book = Workbook()
        book.active.append(["image_name", "NC", "G3", "G4", "G5", "G4C"])
        for image in chosen:
            book.active.append([f"{name}-{image}", *grades[image]])
            picture(root / "images" / f"{name}-{image}")
        (root / "partition" / "Test").mkdir(parents=True, exist_ok=True)
        book.save(root / "partition" / "Test" / f"{name}.xlsx")


def skincancer(root: Path) -> None:
    """A tile of every class in each set; one row twice."""
    rows = []
    for label, raw in enumerate(CARDS["skincancer"].raw_labels):
        for part in ("Train", "Validation", "Test"):
            file = f"data/tiles/{raw}/{part}.jpg"
            picture(root / file, level=10 * label)
            rows.append((file, raw, part, "tumor" if raw.startswith("tumor") else "nontumor"))
    table(root / "data/tiles-v2.csv", ("file", "class", "set", "malignicy"), [*rows, rows[-1]])


def covid(root: Path) -> None:
    """Ten images of each of four folders, two of which are classes."""
    for folder in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        for index in range(1, 11):
            picture(root / folder / "images" / f"{folder}-{index}.png")
            picture(root / folder / "masks" / f"{folder}-{index}.png")


def rsna(root: Path) -> None:
    """Ten patients of each finding; those with opacities have two rows each."""
    rows = []
    for label, finding in enumerate(CARDS["rsna"].raw_labels):
        for index in range(10):
            patient = f"{label:04}-{index:04}"
            rows += [(patient, finding)] * (2 if label == 0 else 1)
            dicom(root / "stage_2_train_images" / f"{patient}.dcm", level=40 * label)
    table(root / "stage_2_detailed_class_info.csv", ("patientId", "class"), rows)


def dicom(path: Path, level: int) -> None:
    """A DICOM file of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.dicom(np.full((12, 12), level, dtype=np.uint8)))


def split_json(root: Path, card_id: str, parts: Mapping[str, Iterable[tuple[str, int, str]]]) -> None:
    """CoOp's split file, and the images it names."""
    paths = CARDS[card_id].paths
    text(root / paths["split"], json.dumps({name: list(rows) for name, rows in parts.items()}))
    for image, label, _ in (row for rows in parts.values() for row in rows):
        picture(root / paths["images"].removesuffix("/{}") / image, level=20 * label)


def folders_of_classes(root: Path, names: Iterable[str], count: int = 10) -> None:
    """Some images in a folder of each class."""
    for name in names:
        for index in range(count):
            picture(root / name / f"{index}.jpg")


def dtd(root: Path) -> None:
    """Ten images of each texture, without CoOp's file."""
    folders_of_classes(root / "images", CARDS["dtd"].raw_labels)


def eurosat(root: Path) -> None:
    """Ten images of each kind of land, without CoOp's file."""
    folders_of_classes(root / "2750", CARDS["eurosat"].raw_labels)


def food101(root: Path) -> None:
    """Ten images of three dishes, without CoOp's file."""
    folders_of_classes(root / "images", ("waffles", "apple_pie", "pad_thai"))


def flowers(root: Path) -> None:
    """Ten images of each of three flowers, in the order in which labels alternate."""
    labels = np.array([[1, 2, 3] * 10])
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "imagelabels.mat", {"labels": labels})
    text(root / "cat_to_name.json", json.dumps({"1": "pink primrose", "2": "globe thistle", "3": "rose"}))
    for number in range(1, 31):
        picture(root / "jpg" / f"image_{number:05}.jpg")


def pets(root: Path) -> None:
    """Ten images of two breeds for training and validation, three for the test."""
    for part, numbers in (("trainval", range(1, 11)), ("test", range(11, 14))):
        lines = []
        for label, breed in enumerate(("Abyssinian", "american_bulldog"), start=1):
            for number in numbers:
                lines.append(f"{breed}_{number} {label} 1 1")
                picture(root / "images" / f"{breed}_{number}.jpg")
        text(root / "annotations" / f"{part}.txt", *lines)


def sun397(root: Path) -> None:
    """Five training images and two test images of two places."""
    places = ("/a/abbey", "/a/apartment_building/outdoor")
    text(root / "ClassName.txt", *places)
    for part, numbers in (("Training", range(5)), ("Testing", range(5, 7))):
        paths = [f"{place}/sun_{number}.jpg" for place in places for number in numbers]
        text(root / f"{part}_01.txt", *paths)
        for image in paths:
            picture(root / "SUN397" / image[1:])


def ucf101(root: Path) -> None:
    """Five training videos and two test videos of two actions."""
    actions = {"ApplyEyeMakeup": "Apply_Eye_Makeup", "YoYo": "Yo_Yo"}
    text(root / "ucfTrainTestlist/classInd.txt", *(f"{label} {name}" for label, name in enumerate(actions, start=1)))
    for part, numbers in (("train", range(5)), ("test", range(5, 7))):
        videos = [(action, f"v_{action}_g{number:02}") for action in actions for number in numbers]
        suffix = " 1" if part == "train" else ""
        text(
            root / f"ucfTrainTestlist/{part}list01.txt",
            *(f"{action}/{video}.avi{suffix}" for action, video in videos),
        )
        for action, video in videos:
            picture(root / "UCF-101-midframes" / actions[action] / f"{video}.jpg")


def classnames(root: Path) -> None:
    """classnames.txt, not in the order of the wnids."""
    text(root / "classnames.txt", *(f"{wnid} {name}" for wnid, name in reversed(WNIDS.items())))


def imagenet(root: Path) -> None:
    """Two training images and a validation image of each class."""
    classnames(root)
    for label, wnid in enumerate(WNIDS):
        for index in range(2):
            picture(root / "images/train" / wnid / f"{wnid}_{index}.JPEG", level=40 * label)
        picture(root / "images/val" / wnid / "ILSVRC2012_val_00000001.JPEG", level=40 * label)


def imagenetv2(root: Path) -> None:
    """An image of each class, in folders called 0, 1, ...: lines of classnames.txt."""
    classnames(root)
    for label in range(len(WNIDS)):
        picture(root / "imagenetv2-matched-frequency-format-val" / str(label) / "a.jpeg", level=40 * label)


def imagenet_sketch(root: Path) -> None:
    """An image of each class."""
    classnames(root)
    for wnid in WNIDS:
        picture(root / "images" / wnid / "sketch_0.JPEG")


def imagenet_a(root: Path) -> None:
    """An image of two of the classes, and a file that is no class."""
    some_classes(root, "imagenet-a")


def imagenet_r(root: Path) -> None:
    """An image of two of the classes, and a file that is no class."""
    some_classes(root, "imagenet-r")


def some_classes(root: Path, folder: str) -> None:
    """The first and the last class."""
    classnames(root)
    text(root / folder / "README.txt", "about")
    for wnid in (min(WNIDS), max(WNIDS)):
        picture(root / folder / wnid / "art_0.jpg")


def mednist(root: Path) -> None:
    """The zip, two images of each class and split."""
    root.parent.mkdir(parents=True, exist_ok=True)
    write_mednist_zip(root, 2)


def own(root: Path) -> None:
    """Two classes of the operator's own, for two splits."""
    for part, count in (("train", 3), ("test", 2)):
        folders_of_classes(root / part, ("polyp", "normal mucosa"), count)


WRITERS: dict[str, Writer] = {
    "kathercolon": kathercolon,
    "pannuke": pannuke,
    "sicapv2": sicapv2,
    "skincancer": skincancer,
    "covid": covid,
    "rsna": rsna,
    "mednist": mednist,
    "dtd": dtd,
    "eurosat": eurosat,
    "food101": food101,
    "flowers": flowers,
    "pets": pets,
    "sun397": sun397,
    "ucf101": ucf101,
    "imagenet": imagenet,
    "imagenetv2": imagenetv2,
    "imagenet-sketch": imagenet_sketch,
    "imagenet-a": imagenet_a,
    "imagenet-r": imagenet_r,
    "folders": own,
}


def write(card_id: str, directory: Path) -> Path:
    """The miniature of a data set under its published name in a directory; its folder or zip."""
    root = directory / CARDS[card_id].folder
    WRITERS[card_id](root)
    return root
