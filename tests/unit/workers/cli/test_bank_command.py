"""`certrad prompts bank` makes a bank that can be gated from a few labelled images of each class."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.classifier import TextHead
from certrad.models.images.model_input import model_input
from certrad.models.images.pixel_map import PixelMap
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import load_prompt_or_bank, read_prompt_card
from certrad.models.prompts.training.bank import BankParams, bank_accuracy
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.types import ClassifierSpec, GatedAdaptation
from certrad.workers.cli import main as cli
from certrad.workers.decoders.raster import decode
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline import bank as offline_bank
from tests.support.images import encoded, noise

TASK = shipped_tasks()["mednist"]
WHOLE = BankParams
IMAGES = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of each class, in folders named like the classes, and a hidden file."""
    for label, name in enumerate(TASK.class_names):
        directory = tmp_path / "images" / name.replace(" ", "_")
        directory.mkdir(parents=True)
        (directory / ".DS_Store").write_text("no image")
        for place in range(IMAGES):
            (directory / f"Jane Doe {place}.png").write_bytes(encoded(noise(64, 64, seed=10 * label + place), "PNG"))
    return tmp_path / "images"


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command with few epochs and levels, on a data directory of its own and without a service."""
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CERTRAD_THREADS", "1")
    few: dict[str, Any] = {"sigmas": (0.25, 0.5), "member_sigmas": (0.5,), "epochs": 1, "steps": 2, "gate_batch": 4}
    monkeypatch.setattr(offline_bank, "BankParams", lambda **given: WHOLE(**given, **few))
    options = ("prompts", "bank", "--name", "site", "--shots", "2", "--copies", "2", "--images")
    return lambda images, *more: cli.main([*options, str(images), *map(str, more)])


def card_of(tmp_path: Path) -> Any:
    (path,) = (tmp_path / "data" / "prompts").glob("site-*.json")
    return read_prompt_card(path)


def test_the_bank_is_stored_measured_on_other_images_and_names_no_file(
    folder: Path, bank: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bank(folder) == 0
    out, err = capsys.readouterr()
    card = card_of(tmp_path)
    assert json.loads(out)["id"] == card.id
    assert (card.method, card.task, card.class_names) == ("bank", TASK.id, TASK.class_names)
    loaded = load_prompt_or_bank(tmp_path / "data" / "prompts", card)
    assert isinstance(loaded, Bank)
    assert card.tuning["gate_sha256"] == loaded.gate.sha256
    assert card.tuning["training_images"] == 2 * len(TASK.class_names)
    validation = card.measured["validation"]
    assert validation["images"] == len(TASK.class_names)  # one of three is left of each class
    assert [row["sigma"] for row in validation["noisy_accuracy"]] == [0.25, 0.5]
    assert "Jane" not in out + err + json.dumps(card.tuning)
    spec = ClassifierSpec(
        backbone="demo", prompt=card.id, class_names=card.class_names, template="{}", adaptation=GatedAdaptation()
    )
    assert spec.scope == "input_independent"


def test_bank_of_noise_on_the_image_is_tuned_through_the_map_and_says_so(
    folder: Path, bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(encoded(noise(48, 40, seed=len(path.parent.name)), "PNG"))
    drawn = []
    honest = PixelMap.of_tensor

    def spied(of: PixelMap, pixels: torch.Tensor) -> torch.Tensor:
        drawn.append(tuple(pixels.shape[1:]))
        return honest(of, pixels)

    monkeypatch.setattr(PixelMap, "of_tensor", spied)
    assert bank(folder, "--noise-space", "image") == 0
    tuning = card_of(tmp_path).tuning
    assert (tuning["noise_space"], tuning["images"]["of_rows"], tuning["images"]["rows"]) == ("image", 48, 44)
    # Two levels of noise for each of two shots of each class, and one pass of the others at either level.
    assert drawn == [(1, 44, 40)] * (2 * 2 * len(TASK.class_names) + 2)


def test_bank_of_noise_on_the_model_input_names_no_space(folder: Path, bank: Any, tmp_path: Path) -> None:
    assert bank(folder) == 0
    assert "noise_space" not in card_of(tmp_path).tuning


def test_bank_of_noise_on_images_of_two_shapes_is_refused_without_a_name(
    folder: Path, bank: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, path in enumerate(sorted(folder.rglob("*.png"))):
        path.write_bytes(encoded(noise(64 + place % 2, 64, seed=place), "PNG"))
    assert bank(folder, "--noise-space", "image") == 1
    err = capsys.readouterr().err
    assert "image_sizes_differ" in err
    assert "Jane" not in err


@pytest.mark.parametrize(("options", "name"), [((), None), (("--acquisition", "radiology"), "radiology")])
def test_the_card_says_which_changes_of_acquisition_were_drawn(
    folder: Path, bank: Any, tmp_path: Path, options: tuple[str, ...], name: str | None
) -> None:
    assert bank(folder, *options) == 0
    changes = card_of(tmp_path).tuning["acquisition"]
    assert (changes and changes["name"]) == name


def test_the_images_that_members_and_gate_learned_from_are_recorded_and_no_others(
    folder: Path, bank: Any, tmp_path: Path
) -> None:
    assert bank(folder) == 0
    record = card_of(tmp_path).tuned_on
    (images,) = record.keyed
    epoch = EpochSecrets(tmp_path / "data" / "secrets").named(images.epoch_sha256)
    assert epoch is not None
    for name in TASK.class_names:
        inputs = [
            model_input(decode(path.read_bytes(), "png", max_pixels=10**6), 64).sha256
            for path in (folder / name.replace(" ", "_")).glob("Jane*")
        ]
        assert [images.includes(epoch.secret, digest) for digest in inputs].count(True) == 2  # the third is measured on
    assert (len(images.digests), record.complete) == (2 * len(TASK.class_names), True)


def test_one_seed_makes_one_bank(folder: Path, bank: Any, tmp_path: Path) -> None:
    assert [bank(folder), bank(folder)] == [0, 0]
    first = card_of(tmp_path)  # the same id: there is one
    assert bank(folder, "--seed", 1) == 0
    assert len(list((tmp_path / "data" / "prompts").glob("site-*.json"))) == 2
    assert first.tuning["seed"] == 0


def test_without_images_left_nothing_is_measured(folder: Path, bank: Any, tmp_path: Path) -> None:
    assert bank(folder, "--shots", IMAGES) == 0
    assert card_of(tmp_path).measured == {}


def test_accuracy_counts_the_copies_that_get_their_label() -> None:
    backbone = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    images = torch.rand((5, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    shipped = load_prompt_or_bank(SHIPPED_PROMPTS, read_prompt_card(SHIPPED_PROMPTS / f"{TASK.default_bank}.json"))
    assert isinstance(shipped, Bank)
    sigma = 1e-6  # below what could move a picture to another class
    classifier = TextHead.of_prompt(backbone, TASK.class_names, shipped).classifier(backbone, sigma)
    with torch.no_grad():
        answers = classifier.logits(images).argmax(-1)
    labels = torch.cat([answers[:2], (answers[2:] + 1) % len(TASK.class_names)])
    assert bank_accuracy(backbone, shipped, images, labels, TASK.class_names, sigma, seed=3) == 0.4


def test_an_image_that_cannot_be_read_is_named_by_its_place(
    folder: Path, bank: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / TASK.class_names[4].replace(" ", "_") / "Jane Doe 1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert bank(folder, "--shots", IMAGES) == 1
    said = capsys.readouterr().err
    assert f"image 2 of class {TASK.class_names[4]!r}" in said
    assert "unreadable_image" in said
    assert "Jane" not in said
    assert not (tmp_path / "data" / "prompts").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--shots", IMAGES + 1), 1, "too_few_images"),
        (("--task", "pannuke"), 1, "class_mismatch"),
        (("--task", "nothing"), 2, "`--task` must be one of"),
        (("--name", "../site"), 2, "`--name` must be"),
        (("--template", "{} in a picture"), 1, "invalid_request"),
        (("--template", f"{'a very long story about ' * 20}{{}}."), 1, "prompt_too_long"),
    ],
)
def test_what_cannot_become_a_bank_is_refused_before_an_image_is_encoded(
    options: tuple[Any, ...],
    code: int,
    message: str,
    folder: Path,
    bank: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoded_images: list[int] = []
    monkeypatch.setattr("certrad.models.prompts.training.bank.noisy_directions", lambda *_: encoded_images.append(1))
    assert bank(folder, *options) == code
    assert message in capsys.readouterr().err
    assert not encoded_images


def test_an_extra_class_without_images_beside_the_shots_is_refused_before_anything_is_decoded(
    folder: Path, bank: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bank(folder, "--rejection", 0.01) != 0
    assert "needs 100 images beside the shots, got 6" in capsys.readouterr().err
    assert not (tmp_path / "data" / "prompts").exists()
