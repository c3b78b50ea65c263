"""`certrad attack` takes images, prints both accuracies and writes the attacked images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.classifier import TextHead
from certrad.models.shipped import shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.cli.main import main
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings
from tests.support.commands import arguments
from tests.support.images import encoded

TASK = shipped_tasks()["mednist"]
BANK = next(id for id, card in shipped_prompts().items() if card.method == "bank")


def disc(seed: int) -> bytes:
    """A picture of the size of the demo model's input, so that what is written can be sent as it is."""
    rows, columns = np.mgrid[:64, :64]
    grey = 200 * ((rows - 32) ** 2 + (columns - 32) ** 2 < (8 + 3 * seed) ** 2) + np.arange(64) // 4
    return encoded(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), "PNG")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of one process that wait for each other cost more than they gain here."""
    monkeypatch.setenv("CERTRAD_THREADS", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for each class, called by its name, with an image in each and a file that is none in the first."""
    for seed, name in enumerate(TASK.class_names):
        directory = tmp_path / "data" / name
        directory.mkdir(parents=True)
        (directory / f"{seed}.png").write_bytes(disc(seed))
    (tmp_path / "data" / TASK.class_names[0] / "notes.txt").write_text("no image")
    return tmp_path / "data"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.png" for seed in (1, 2)]
    for seed, path in enumerate(paths, start=1):
        path.write_bytes(disc(seed))
    return paths


def options(*paths: Path, **changes: object) -> list[str]:
    return arguments("attack", *paths, **({"attack": "pgd10", "json": True} | changes))


def answer(capfd: pytest.CaptureFixture[str], *paths: Path, **changes: object) -> tuple[dict[str, Any], str]:
    assert main(options(*paths, **changes)) == 0
    out, err = capfd.readouterr()
    return json.loads(out), err


def test_folder_for_each_class_gives_accuracies(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report, err = answer(capfd, folder)
    rows = report["images"]
    assert report["labelled"] is True
    assert [row["label"] for row in rows] == list(TASK.class_names)
    for kind in ("clean", "non_adaptive", "adaptive"):
        rate = report["accuracy"][kind]
        assert (rate["hits"], rate["images"]) == (sum(row[kind] == row["label"] for row in rows), 6)
    assert (report["epsilon"], report["prompt"]) == (8 / 255, TASK.default_bank)  # as the service answers
    assert report["attacks"] == {"non_adaptive": "PGD-10 on image features", "adaptive": "PGD-10 on the prompt"}
    assert "1 file left out: unsupported_format" in err


def test_hidden_files_and_folders_are_passed_over(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    expected = answer(capfd, folder)
    for hidden in ("__MACOSX/0.png", ".cache/0.png", f"{TASK.class_names[1]}/.0.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(disc(0))
    assert answer(capfd, folder) == expected


def test_clean_class_is_the_label_of_a_file_and_that_is_said(
    files: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(options(*files, json=False, limit=1)) == 0
    out, _ = capfd.readouterr()
    assert out.count(str(files[0])) == 1
    assert str(files[1]) not in out
    assert "no labels" in out
    assert "clean: 100.0% correct (1 of 1; 95% interval 2.5 to 100.0)" in out
    assert "\nnon-adaptive: " in out
    assert "\nadaptive: " in out


def test_images_of_nearly_one_grey_are_counted(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grey.png").write_bytes(encoded(np.full((64, 64), 90, dtype=np.uint8), "PNG"))
    assert main(options(tmp_path / "grey.png", files[0], json=False)) == 0
    assert "low_contrast (1 of 2 images): " in capfd.readouterr().out
    report, _ = answer(capfd, tmp_path / "grey.png", files[0])
    assert report["low_contrast"] == 1


def test_written_pictures_stay_in_the_ball_and_get_the_told_classes(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report, _ = answer(capfd, *files, out=tmp_path / "out", epsilon="12/255", prompt="template")
    card = shipped_backbones()["demo"]
    backbone = load_backbone(card, EMBEDDED)
    classifier = TextHead.of_template(backbone, TASK.class_names, TASK.template).classifier(backbone, 0.0)
    spec = ClassifierSpec(backbone="demo", prompt="template", class_names=TASK.class_names, template=TASK.template)
    for kind in ("non_adaptive", "adaptive"):
        for number, (file, row) in enumerate(zip(files, report["images"], strict=True), start=1):
            written = tmp_path / "out" / kind / f"{number:05d}.png"
            change = np.asarray(Image.open(written)).astype(int) - np.asarray(Image.open(file)).astype(int)
            assert 0 < np.abs(change).max() <= 12
            sent, _ = decode_limited(written.read_bytes(), CertifyRequest(classifier=spec), card, WorkerSettings())
            (predicted,) = classifier.logits(torch.from_numpy(sent.pixels.copy())[None]).argmax(1).tolist()
            assert TASK.class_names[predicted] == row[kind]


def test_seed_fixes_the_pictures(files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written = []
    for run, seed in enumerate((3, 3, 4)):
        answer(capfd, files[0], seed=seed, out=tmp_path / str(run))
        written.append(
            [(tmp_path / str(run) / kind / "00001.png").read_bytes() for kind in ("non_adaptive", "adaptive")]
        )
    assert written[0] == written[1]
    assert all(one != other for one, other in zip(written[1], written[2], strict=True))


def test_small_autoattack_is_called_reduced(files: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    report, _ = answer(capfd, files[0], attack="autoattack", iterations=1, queries=2)
    assert report["epsilon"] == 16 / 255
    for name in report["attacks"].values():
        assert name.startswith("reduced AutoAttack (apgd-ce, apgd-t, fab-t, square; 1 iterations, 5 targets, 2 queries")


def test_autoattack_on_the_template_prompt_is_one_attack(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changes = {"attack": "autoattack", "iterations": 1, "queries": 2, "prompt": "template", "out": tmp_path / "out"}
    assert main(options(files[0], json=False, **changes)) == 0
    out, _ = capfd.readouterr()
    assert "the template is the prompt" in out
    assert "without knowledge" not in out
    one, other = ((tmp_path / "out" / kind / "00001.png").read_bytes() for kind in ("non_adaptive", "adaptive"))
    assert one == other


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"attack": "pgd"}, "`--attack` must be one of pgd10, pgd40, autoattack; got 'pgd'"),
        ({"epsilon": "0"}, "--epsilon"),
        ({"epsilon": "300/255"}, "--epsilon"),
        ({"epsilon": "much"}, "--epsilon"),
        ({"epsilon": "1/0"}, "--epsilon"),
        ({"epsilon": "1e400"}, "--epsilon"),
        ({"queries": 5}, "`--queries` goes with `--attack autoattack` only"),
        ({"task": "nothing"}, "--task"),
        ({"backbone": "nobody"}, "--backbone"),
        ({"prompt": "nothing-0123456789abcdef"}, "`--prompt` must be one of template, "),
        ({"prompt": BANK, "backbone": "plip"}, "was tuned for another `--backbone`"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what_was_expected(
    files: list[Path], capfd: pytest.CaptureFixture[str], wrong: dict[str, object], told: str
) -> None:
    assert main(options(*files, **wrong)) == 2
    assert told in capfd.readouterr().err


def test_nothing_that_is_an_image_ends_with_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Jane Doe.txt").write_text("no image")
    assert main(options(tmp_path)) == 2
    out, err = capfd.readouterr()
    assert err == "certrad: at least one file must be an image, got 1 file (unsupported_format)\n"
    assert "Jane" not in out + err


def test_folders_that_are_not_those_of_the_classes_end_with_2(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "another").mkdir()
    assert main(options(folder)) == 2
    assert "class_mismatch" in capfd.readouterr().err


def test_file_beside_a_folder_ends_with_2(folder: Path, files: list[Path]) -> None:
    assert main(options(files[0], folder)) == 2
