"""The loaders of every data set read copies in miniature that have the published layout."""

import io
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from certrad.models.datasets.pixels import decode_with_pillow
from certrad.models.datasets.sample import balanced_sample
from certrad.models.datasets.split import LAYOUTS, Split, load_split, model_inputs
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones, shipped_datasets, shipped_tasks
from certrad.workers.intake.file_decoding import decode_as_uploaded, decode_published
from tests.support import images
from tests.support.miniature_datasets import CARDS, WRITERS, picture, split_json, table, text, write

TISSUES = CARDS["kathercolon"].raw_labels
SIZES = {
    "kathercolon": {"train": [2] * 9, "test": [1] * 9},
    "pannuke": {"train": [8, 10], "test": [4, 5]},
    "sicapv2": {"train": [1, 1, 1, 0], "test": [1] * 4},
    "skincancer": {"train": [1] * 16, "val": [1] * 16, "test": [1] * 16},
    "covid": {"train": [5, 5], "val": [2, 2], "test": [3, 3]},
    "rsna": {"train": [5] * 3, "val": [2] * 3, "test": [3] * 3},
    "mednist": {"train": [2] * 6, "test": [2] * 6},
    "dtd": {"train": [5] * 47, "val": [2] * 47, "test": [3] * 47},
    "eurosat": {"train": [5] * 10, "val": [2] * 10, "test": [3] * 10},
    "food101": {"train": [5] * 3, "val": [2] * 3, "test": [3] * 3},
    "flowers": {"train": [5] * 3, "val": [2] * 3, "test": [3] * 3},
    "pets": {"train": [8, 8], "val": [2, 2], "test": [3, 3]},
    "sun397": {"train": [4, 4], "val": [1, 1], "test": [2, 2]},
    "ucf101": {"train": [4, 4], "val": [1, 1], "test": [2, 2]},
    "imagenet": {"train": [2] * 3, "test": [1] * 3},
    "imagenetv2": {"test": [1] * 3},
    "imagenet-sketch": {"test": [1] * 3},
    "imagenet-a": {"test": [1, 1]},
    "imagenet-r": {"test": [1, 1]},
    "folders": {"train": [3, 3], "test": [2, 2]},
}
NAMES = {
    "food101": ("apple_pie", "pad_thai", "waffles"),
    "flowers": ("pink primrose", "globe thistle", "rose"),
    "pets": ("abyssinian", "american_bulldog"),
    "sun397": ("abbey", "outdoor apartment_building"),
    "ucf101": ("Apply_Eye_Makeup", "Yo_Yo"),
    "imagenet": ("tench", "goldfish", "Chihuahua"),
    "imagenetv2": ("Chihuahua", "goldfish", "tench"),
    "imagenet-sketch": ("tench", "goldfish", "Chihuahua"),
    "imagenet-a": ("tench", "Chihuahua"),
    "imagenet-r": ("tench", "Chihuahua"),
    "folders": ("normal mucosa", "polyp"),
}
SEEDED = {"covid", "rsna", "dtd", "eurosat", "food101", "flowers"}
NEEDED = {
    "kathercolon": "CRC-VAL-HE-7K/LYM",
    "pannuke": "Fold 2/masks/fold2/masks.npy",
    "sicapv2": "partition/Test/Test.xlsx",
    "skincancer": "data/tiles-v2.csv",
    "covid": "Normal",
    "rsna": "stage_2_detailed_class_info.csv",
    "dtd": "images/woven",
    "eurosat": "2750/River",
    "food101": "images",
    "flowers": "imagelabels.mat",
    "pets": "annotations/test.txt",
    "sun397": "Testing_01.txt",
    "ucf101": "ucfTrainTestlist/classInd.txt",
    "imagenet": "images/val/n01443537",
    "imagenetv2": "classnames.txt",
    "imagenet-sketch": "images/n01443537",
    "imagenet-a": "imagenet-a",
    "imagenet-r": "imagenet-r",
    "folders": "test",
}


def load(card_id: str, directory: Path, split: str = "test") -> Split:
    return load_split(CARDS[card_id], directory, split, decode=decode_published)  # type: ignore[arg-type]


def names_of(split: Split) -> list[str]:
    return [item.name for item in split.items]


def refusal(card_id: str, directory: Path, split: str = "test") -> Rejected:
    with pytest.raises(Rejected) as refused:
        load(card_id, directory, split)
    return refused.value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the miniature of every data set; tests do not change it."""
    directory = tmp_path_factory.mktemp("data")
    for card_id in WRITERS:
        write(card_id, directory)
    return directory


# -- every data set ----------------------------------------------------------------------------------------------------


def test_every_card_has_a_loader_and_a_miniature() -> None:
    assert {card.layout for card in shipped_datasets().values()} == set(LAYOUTS)
    assert set(shipped_datasets()) == set(WRITERS) == set(SIZES)


def test_every_default_backbone_is_shipped_and_is_the_one_of_the_papers() -> None:
    tasks = shipped_tasks()
    defaults = {
        card.id: card.default_backbone if card.task is None else tasks[card.task].default_backbone
        for card in shipped_datasets().values()
    }
    pathology = {"kathercolon", "pannuke", "sicapv2", "skincancer"}
    expected: dict[str, str | None] = {**dict.fromkeys(WRITERS, "clip-vit-b-16"), **dict.fromkeys(pathology, "plip")}
    expected |= {"covid": "medclip-vit", "rsna": "medclip-vit", "mednist": "demo", "folders": None}
    assert defaults == expected
    assert set(defaults.values()) - {None} <= set(shipped_backbones())


def test_every_class_of_a_task_has_a_label_in_the_files() -> None:
    tasks = shipped_tasks()
    cards = [card for card in shipped_datasets().values() if card.task is not None]
    assert {card.id: len(card.raw_labels) for card in cards} == {
        card.id: len(tasks[card.id].class_names) for card in cards
    }


@pytest.mark.parametrize(("card_id", "split"), [(name, split) for name, sizes in SIZES.items() for split in sizes])
def test_each_class_has_its_published_share_of_a_split(data: Path, card_id: str, split: str) -> None:
    loaded = load(card_id, data, split)
    counts = np.bincount(loaded.labels, minlength=len(loaded.class_names)).tolist()
    assert counts == SIZES[card_id][split]
    assert len(loaded) == sum(counts)


@pytest.mark.parametrize("card_id", WRITERS)
def test_no_image_is_in_two_splits_or_twice_in_one(data: Path, card_id: str) -> None:
    names = [name for split in SIZES[card_id] for name in names_of(load(card_id, data, split))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("card_id", WRITERS)
def test_class_names_are_those_of_the_task_or_of_the_files(data: Path, card_id: str) -> None:
    task, loaded = CARDS[card_id].task, load(card_id, data)
    assert loaded.class_names == (NAMES[card_id] if task is None else shipped_tasks()[task].class_names)


@pytest.mark.parametrize("card_id", WRITERS)
def test_template_is_that_of_the_papers(data: Path, card_id: str) -> None:
    task, loaded = CARDS[card_id].task, load(card_id, data)
    assert loaded.template == (CARDS[card_id].template if task is None else shipped_tasks()[task].template)
    assert (loaded.template is None) == (card_id == "folders")


@pytest.mark.parametrize("card_id", WRITERS)
def test_split_says_whether_it_is_the_published_one(data: Path, card_id: str) -> None:
    assert load(card_id, data).rule == ("seeded" if card_id in SEEDED else "published")


@pytest.mark.parametrize("card_id", WRITERS)
def test_items_are_sorted_whatever_the_file_system_does(
    data: Path, card_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorted_names, listed = names_of(load(card_id, data)), Path.iterdir
    assert sorted_names == sorted(sorted_names)
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(listed(self), reverse=True))
    assert names_of(load(card_id, data / CARDS[card_id].folder)) == sorted_names


@pytest.mark.parametrize("card_id", NEEDED)
def test_missing_part_is_named_with_its_place_and_source(tmp_path: Path, card_id: str) -> None:
    root = write(card_id, tmp_path)
    gone = root / NEEDED[card_id]
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    refused = refusal(card_id, tmp_path)
    assert refused.code == "dataset_unavailable"
    assert str(root) in refused.detail
    assert NEEDED[card_id].split("/")[-1] in refused.detail
    assert CARDS[card_id].source in refused.detail or card_id == "folders"
    assert "\n" not in refused.detail


@pytest.mark.parametrize("card_id", WRITERS)
def test_data_set_that_is_not_there_is_said_in_one_line(tmp_path: Path, card_id: str) -> None:
    refused = refusal(card_id, tmp_path / "nowhere")
    assert refused.code == "dataset_unavailable"
    assert refused.detail.startswith(f"{card_id}: there is no folder or zip at")


@pytest.mark.parametrize("card_id", ["kathercolon", "pannuke", "sicapv2", "imagenet", "imagenet-a", "mednist"])
def test_split_that_was_never_published_is_refused(data: Path, card_id: str) -> None:
    refused = refusal(card_id, data, "val")
    assert refused.code == "dataset_unavailable"
    assert "the split must be a published one (" in refused.detail


@pytest.mark.parametrize(("card_id", "step"), [("kathercolon", 20), ("skincancer", 10), ("rsna", 40), ("imagenet", 40)])
def test_picture_is_one_of_the_class_that_its_label_names(data: Path, card_id: str, step: int) -> None:
    split = load(card_id, data)
    levels = [int(np.rint(split.image(index).mean() * 255)) for index in range(len(split))]
    assert levels == [step * label for label in split.labels]


# -- single data sets --------------------------------------------------------------------------------------------------


def test_file_name_that_occurs_in_every_class_is_kept_in_every_class(data: Path) -> None:
    assert names_of(load("kathercolon", data)) == sorted(f"CRC-VAL-HE-7K/{tissue}/same.tif" for tissue in TISSUES)


def test_label_of_a_folder_is_its_place_in_the_published_order(data: Path) -> None:
    split = load("skincancer", data)
    raw = CARDS["skincancer"].raw_labels
    assert {name.split("/")[2]: split.label(i) for i, name in enumerate(names_of(split))} == {
        name: label for label, name in enumerate(raw)
    }
    assert list(raw) != sorted(raw)


@pytest.mark.parametrize("fold", [1, 3])
def test_pannuke_drops_images_between_benign_and_malignant(data: Path, fold: int) -> None:
    kept = [
        (int(item.name.split("#")[1]), item.label)
        for split in ("train", "test")
        for item in load("pannuke", data, split).items
        if item.name.startswith(f"Fold {fold}/")
    ]
    assert sorted(kept) == [(index, 1) for index in range(5)] + [(index, 0) for index in range(5, 9)]


def test_pannuke_image_is_the_one_that_was_labelled(data: Path) -> None:
    split = load("pannuke", data)
    for index, item in enumerate(split.items):
        fold, place = int(item.name[5]), int(item.name.split("#")[1])
        assert np.all(split.image(index) * 255 == 10 * place + fold)


def test_pannuke_as_unpacked_zip_by_zip_is_the_same(tmp_path: Path, data: Path) -> None:
    for fold in (1, 2, 3):
        shutil.copytree(data / "PanNuke" / f"Fold {fold}", tmp_path / f"fold_{fold}" / f"Fold {fold}")
    labels = [(item.name.split("/", 1)[1], item.label) for item in load("pannuke", tmp_path).items]
    assert labels == [(f"{item.name}", item.label) for item in load("pannuke", data).items]


def test_pannuke_split_is_the_one_that_pandas_draws_for_plip(data: Path) -> None:
    places = [12 * (int(item.name[5]) - 1) + int(item.name.split("#")[1]) for item in load("pannuke", data).items]
    assert sorted(places) == [0, 1, 13, 15, 17, 19, 20, 26, 30]  # from pandas 3, with the statements of PLIP's loader


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapped", [True, False], ids=["array of objects", "bare pickle"])
def test_pickled_array_is_not_read(tmp_path: Path, wrapped: bool) -> None:
    types, trap = write("pannuke", tmp_path) / "Fold 1/images/fold1/types.npy", Trap(tmp_path / "sprung")
    if wrapped:
        np.save(types, np.array([trap] * 12, dtype=object), allow_pickle=True)
    else:
        types.write_bytes(pickle.dumps(trap))
    refused = refusal("pannuke", tmp_path)
    assert (refused.code, trap.path.exists()) == ("invalid_dataset", False)
    assert "pickled" in refused.detail


def test_sheets_without_what_reads_them_are_refused_in_one_line(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "openpyxl" in refusal("sicapv2", data).detail


def test_patient_with_two_findings_is_refused(tmp_path: Path) -> None:
    root = write("rsna", tmp_path)
    rows = [("0000-0000", "Normal"), ("0000-0000", "Lung Opacity")]
    table(root / "stage_2_detailed_class_info.csv", ("patientId", "class"), rows)
    assert refusal("rsna", tmp_path).detail == "rsna: an image has two labels, 2 and 0"


def test_dicom_of_rsna_is_read_by_the_decoder_of_the_service_only(data: Path) -> None:
    split = load("rsna", data)
    assert split.image(0).shape == (12, 12, 1)
    with pytest.raises(Rejected, match="unsupported_format"):
        load_split(CARDS["rsna"], data, "test").image(0)


@pytest.mark.parametrize(
    ("path", "header", "row"),
    [
        ("data/tiles-v2.csv", ("file", "class", "set"), ("data/tiles/a.jpg", "unknown", "Test")),
        ("data/tiles-v2.csv", ("file", "set"), ("data/tiles/a.jpg", "Test")),
    ],
    ids=["unknown class", "no column"],
)
def test_table_with_something_else_in_it_is_refused(
    tmp_path: Path, path: str, header: tuple[str, ...], row: tuple[str, ...]
) -> None:
    root = write("skincancer", tmp_path)
    table(root / path, header, [row])
    assert refusal("skincancer", tmp_path).code == "invalid_dataset"


def test_half_unpacked_imagenet_is_refused_because_labels_would_shift(tmp_path: Path) -> None:
    shutil.rmtree(write("imagenet", tmp_path) / "images/train/n01440764")
    assert refusal("imagenet", tmp_path, "train").code == "dataset_unavailable"
    assert len(load("imagenet", tmp_path)) == 3


def test_folder_that_classnames_does_not_name_is_refused(tmp_path: Path) -> None:
    picture(write("imagenet-r", tmp_path) / "imagenet-r/n99999999/a.jpg")
    assert "n99999999" in refusal("imagenet-r", tmp_path).detail


def test_two_classes_of_imagenet_may_bear_one_name(tmp_path: Path) -> None:
    root = write("imagenet", tmp_path)
    text(root / "classnames.txt", "n01440764 missile", "n01443537 goldfish", "n02085620 missile")
    assert load("imagenet", tmp_path).class_names == ("missile", "goldfish", "missile")


def test_own_images_without_folders_of_splits_are_of_every_split(tmp_path: Path) -> None:
    for name in ("b", "a"):
        picture(tmp_path / name / "1.png")
    assert [names_of(load("folders", tmp_path, split)) for split in ("train", "test")] == [["a/1.png", "b/1.png"]] * 2


def test_own_class_may_have_any_name(tmp_path: Path) -> None:
    for name in ("images", "folders"):
        picture(tmp_path / name / "1.png")
    assert load("folders", tmp_path).class_names == ("folders", "images")


def test_own_images_of_one_class_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    assert "two classes" in refusal("folders", tmp_path).detail


def test_class_folder_without_an_image_is_refused(tmp_path: Path) -> None:
    root = write("folders", tmp_path)
    (root / "test" / "empty").mkdir()
    text(root / "test" / "empty" / "notes.txt", "no image")
    assert "empty" in refusal("folders", tmp_path).detail


def test_mednist_is_read_from_its_zip_and_from_a_folder_alike(tmp_path: Path, data: Path) -> None:
    archive = data / "mednist.zip"
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(tmp_path)
    packed, unpacked = load("mednist", archive), load("mednist", tmp_path)
    assert packed.items == unpacked.items
    assert np.array_equal(packed.image(3), unpacked.image(3))


# -- CoOp's split files ------------------------------------------------------------------------------------------------

BREEDS = {
    "train": [("a_1.jpg", 0, "abyssinian"), ("b_1.jpg", 1, "american_bulldog")],
    "val": [("a_2.jpg", 0, "abyssinian")],
    "test": [("b_2.jpg", 1, "american_bulldog"), ("a_3.jpg", 0, "abyssinian"), ("a_3.jpg", 0, "abyssinian")],
}


def test_split_file_of_coop_goes_before_the_rule(tmp_path: Path) -> None:
    split_json(write("pets", tmp_path), "pets", BREEDS)
    split = load("pets", tmp_path)
    assert [(item.name, item.label) for item in split.items] == [("images/a_3.jpg", 0), ("images/b_2.jpg", 1)]
    assert (split.rule, split.class_names) == ("published", ("abyssinian", "american_bulldog"))


def test_split_file_finds_images_of_a_data_set_with_class_folders(tmp_path: Path) -> None:
    names = shipped_tasks()["eurosat"].class_names
    rows = [(f"{raw}/{raw}_1.jpg", label, names[label]) for label, raw in enumerate(CARDS["eurosat"].raw_labels)]
    split_json(tmp_path, "eurosat", {"train": rows, "val": rows, "test": rows})
    split = load("eurosat", tmp_path)
    assert names_of(split)[0] == "2750/AnnualCrop/AnnualCrop_1.jpg"
    assert split.image(0).shape == (10, 10, 1)


@pytest.mark.parametrize(
    "document",
    [
        {"train": [], "val": []},
        {"train": [["a.jpg", 0]], "val": [], "test": []},
        {"train": [["a.jpg", 0, "a"]], "val": [], "test": [["b.jpg", 0, "b"]]},
        {"train": [["a.jpg", 0, "a"]], "val": [], "test": [["b.jpg", 2, "b"]]},
        {"train": [["a.jpg", 0, "a"], ["b.jpg", 1, "b"]], "val": [], "test": [["b.jpg", 0, "a"], ["b.jpg", 1, "b"]]},
    ],
    ids=["no split", "no name", "two names", "gap", "two labels"],
)
def test_split_file_that_contradicts_itself_is_refused(tmp_path: Path, document: object) -> None:
    text(tmp_path / "split_zhou_OxfordPets.json", json.dumps(document))
    assert refusal("pets", tmp_path).code == "invalid_dataset"


def test_split_file_with_other_classes_than_the_task_is_refused(tmp_path: Path) -> None:
    split_json(tmp_path, "eurosat", {"train": [], "val": [], "test": [("a/1.jpg", 0, "Desert"), ("b/1.jpg", 1, "Sea")]})
    assert refusal("eurosat", tmp_path).code == "invalid_dataset"


def test_a_missing_image_of_a_split_file_is_refused_when_it_is_read(tmp_path: Path) -> None:
    root = write("pets", tmp_path)
    split_json(root, "pets", BREEDS)
    (root / "images/a_3.jpg").unlink()
    with pytest.raises(Rejected, match=r"dataset_unavailable: pets: an image of the split is missing from") as refused:
        load("pets", tmp_path).image(0)
    assert "a_3" not in refused.value.detail


# -- pixels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "P", "LA"])
def test_published_pictures_become_rgb_as_pillow_does_it(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    content = images.saved(Image.fromarray(images.noise(9, 11, 3)).convert(mode), kind)
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(np.rint(decode_with_pillow(content) * 255), np.asarray(opened.convert("RGB")))


def test_grey_picture_keeps_its_levels() -> None:
    levels = images.noise(9, 11)
    assert np.array_equal(decode_with_pillow(images.encoded(levels, "PNG"))[..., 0], levels / 255)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"no picture", "unsupported_format"),
        (images.encoded(images.noise(40, 40), "PNG")[:700], "unreadable_image"),
        (images.encoded(images.noise(9, 9, dtype="u2"), "PNG"), "unsupported_pixels"),
        (images.png_bomb(20_000), "image_too_large"),
    ],
)
def test_picture_that_cannot_be_read_is_refused_with_a_code(content: bytes, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        decode_with_pillow(content)
    assert refused.value.code == code


def test_own_pictures_are_decoded_as_uploads_are() -> None:
    deep = images.noise(9, 9, dtype="u2")
    assert np.allclose(decode_as_uploaded(images.encoded(deep, "PNG"), max_pixels=100)[..., 0], deep / 65535)
    with pytest.raises(Rejected, match="unsupported_format"):
        decode_as_uploaded(b"no picture", max_pixels=100)


@pytest.mark.parametrize("backbone", ["demo", "medclip-vit"])
def test_model_inputs_are_what_the_backbone_takes(data: Path, backbone: str) -> None:
    card, split = shipped_backbones()[backbone], load("kathercolon", data)
    inputs = model_inputs(split, [8, 0], card)
    assert tuple(inputs.shape) == (2, 3, card.image_size, card.image_size)
    centres = inputs[:, :, card.image_size // 2, card.image_size // 2]
    assert np.allclose(centres.numpy() * 255, [[160.0] * 3, [0.0] * 3], atol=1e-3)


# -- samples -----------------------------------------------------------------------------------------------------------

UNEVEN = np.repeat([0, 1, 2], [5, 2, 9])


def test_balanced_sample_takes_classes_in_turn_until_one_is_used_up() -> None:
    chosen = balanced_sample(UNEVEN, 3, 10, seed=1)
    assert UNEVEN[chosen].tolist() == [0, 1, 2, 0, 1, 2, 0, 2, 0, 2]
    assert len(set(chosen)) == 10


def test_balanced_sample_may_be_all_images() -> None:
    assert sorted(balanced_sample(UNEVEN, 3, 16, seed=1)) == list(range(16))


@pytest.mark.parametrize("count", [0, 17])
def test_balanced_sample_refuses_more_images_than_there_are(count: int) -> None:
    with pytest.raises(ValueError, match=r"count must be 1\.\.16, the number of images"):
        balanced_sample(UNEVEN, 3, count, seed=1)


def test_larger_balanced_sample_begins_with_the_smaller_one() -> None:
    assert balanced_sample(UNEVEN, 3, 12, seed=1)[:7] == balanced_sample(UNEVEN, 3, 7, seed=1)
    assert balanced_sample(UNEVEN, 3, 7, seed=2) != balanced_sample(UNEVEN, 3, 7, seed=1)
