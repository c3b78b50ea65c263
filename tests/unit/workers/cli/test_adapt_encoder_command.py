"""`certrad adapt-encoder`: a folder of unlabelled images in, an adapter that records them by digest out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.checkpoint import load_adapter, read_adapter_card
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.trainer import train_adapter
from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.images.model_input import model_input
from certrad.models.shipped import shipped_backbones
from certrad.models.types import AdapterCard
from certrad.workers.cli import main as cli
from certrad.workers.decoders.raster import decode
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline import encoder_adapter
from tests.support.images import dicom, encoded, noise

IMAGES = 20
STEPS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty images, half of them in a folder below; twice the same image, a text, and a hidden file."""
    directory = tmp_path / "images"
    (directory / "more").mkdir(parents=True)
    for place in range(IMAGES):
        content = encoded(noise(64, 64, seed=place), "PNG" if place % 3 else "TIFF")
        (directory / ("more" if place % 2 else ".") / f"Jane Doe {place:02}.png").write_bytes(content)
    (directory / "Jane Doe again.png").write_bytes((directory / "Jane Doe 02.png").read_bytes())
    (directory / "Jane Doe notes.txt").write_text("no image")
    (directory / ".DS_Store").write_text("no image")
    return directory


@pytest.fixture
def adapt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command with few steps on a data directory of its own."""
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CERTRAD_THREADS", "1")
    monkeypatch.setattr(encoder_adapter, "AdapterParams", lambda **given: AdapterParams(**given, batch_size=2))
    options = ("adapt-encoder", "--name", "site", "--rank", "2", "--steps", str(STEPS), "--images")
    return lambda images, *more: cli.main([*options, str(images), *map(str, more)])


def card_of(tmp_path: Path) -> AdapterCard:
    (path,) = (tmp_path / "data" / "adapters").glob("site-*.json")
    return read_adapter_card(path)


def test_the_adapter_is_stored_measured_on_other_images_and_names_no_file(
    folder: Path, adapt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapt(folder) == 0
    out, err = capsys.readouterr()
    card = card_of(tmp_path)
    assert json.loads(out)["id"] == card.id
    assert (card.backbone, card.rank, card.sigma_range) == ("demo", 2, (0.1, 1.1))
    backbone = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    assert adapted(backbone, load_adapter(tmp_path / "data" / "adapters", card)).adapter == card
    assert card.training["training_images"] == IMAGES - 2
    assert len(card.training["data_sha256"]) == 64
    assert (card.training["task"], card.training["limit"], card.training["threads"]) == ("mednist", 3000, 1)
    assert (card.training["device"], card.training["torch"]) == ("cpu", torch.__version__)
    held_out = card.measured["held_out"]
    assert held_out["images"] == 2
    assert [row["sigma"] for row in held_out["mean_cosine"]] == [0.0, 0.25, 0.5, 1.0]
    assert all(0 < row[tower] <= 1 for row in held_out["mean_cosine"] for tower in ("frozen", "adapted"))
    assert "1 file left out: unsupported_format" in err
    assert "1 file left out: same_image" in err
    assert "Jane" not in out + err
    assert [path.suffix for path in sorted((tmp_path / "data" / "adapters").iterdir())] == [".json", ".safetensors"]


def test_the_images_that_the_adapter_learned_from_are_recorded_and_no_others(
    folder: Path, adapt: Any, tmp_path: Path
) -> None:
    assert adapt(folder) == 0
    record = card_of(tmp_path).trained_on
    assert record is not None
    (images,) = record.keyed
    epoch = EpochSecrets(tmp_path / "data" / "secrets").named(images.epoch_sha256)
    assert epoch is not None
    inputs = {
        model_input(decode(path.read_bytes(), "png" if number % 3 else "tiff", max_pixels=10**6), 64).sha256
        for path in folder.rglob("Jane Doe *.png")
        if path.stem[-2:].isdigit()
        for number in [int(path.stem[-2:])]
    }
    assert len(inputs) == IMAGES
    assert sum(images.includes(epoch.secret, digest) for digest in inputs) == IMAGES - 2  # two are measured on
    assert (len(images.digests), record.complete) == (IMAGES - 2, True)


def test_the_secret_that_another_engine_needs_is_named(
    folder: Path, adapt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapt(folder, "--steps", 1) == 0
    record = card_of(tmp_path).trained_on
    assert record is not None
    said = capsys.readouterr().err
    assert f"keyed with the epoch secret {record.keyed[0].epoch_sha256[:16]}" in said
    assert f"copy {tmp_path / 'data' / 'secrets'} to it first" in said


def test_an_interrupted_training_is_resumed_to_the_same_adapter(
    folder: Path, adapt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adapt(folder) == 0
    whole = card_of(tmp_path)

    def killed(*arguments: Any, **options: Any) -> Any:
        states = train_adapter(*arguments, **options)
        yield next(states)
        raise KeyboardInterrupt

    for path in (tmp_path / "data" / "adapters").iterdir():
        path.unlink()
    monkeypatch.setattr(encoder_adapter, "train_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(folder)
    assert [path.name for path in (tmp_path / "data" / "adapters").iterdir()] == ["site.training"]
    resumed: list[Any] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        resumed.append(options["resume"].step)
        return train_adapter(*arguments, **options)

    monkeypatch.setattr(encoder_adapter, "train_adapter", watched)
    assert adapt(folder, "--resume") == 0
    assert resumed == [25]
    assert card_of(tmp_path) == whole


def test_the_training_of_other_images_or_with_another_rank_is_not_resumed(
    folder: Path,
    adapt: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    def killed(*arguments: Any, **options: Any) -> Any:
        yield next(train_adapter(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder_adapter, "train_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(folder)
    assert adapt(folder, "--resume", "--rank", 3) == 1
    assert "with another rank (2, now 3)" in capsys.readouterr().err
    assert adapt(folder, "--resume", "--limit", 10) == 1
    said = capsys.readouterr().err
    assert "with another data_sha256 (" in said
    assert "limit (3000, now 10)" in said


def test_dicom_files_are_read_too_and_the_limit_counts_images(folder: Path, adapt: Any, tmp_path: Path) -> None:
    (folder / "Aaron.dcm").write_bytes(dicom(noise(64, 64, seed=99)))
    assert adapt(folder, "--limit", 3, "--steps", 1) == 0
    assert card_of(tmp_path).training["training_images"] == 3
    assert card_of(tmp_path).measured == {}  # too few to hold one out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--resume",), 2, "no interrupted training 'site' to resume"),
        (("--backbone", "plip"), 1, "backbone_unavailable"),
        (("--backbone", "nothing"), 2, "`--backbone` must be one of"),
        (("--task", "nothing"), 2, "`--task` must be one of"),
        (("--name", "../site"), 2, "`--name` must be"),
        (("--sigma-low", 1, "--sigma-high", 0.5), 2, "`--sigma-low` must not be above `--sigma-high`; got 1 and 0.5"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    options: tuple[Any, ...], code: int, message: str, folder: Path, adapt: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapt(folder, *options) == code
    assert message in capsys.readouterr().err


def test_a_folder_without_a_readable_image_is_refused(
    adapt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Jane Doe.txt").write_text("no image")
    assert adapt(tmp_path / "images") == 2
    said = capsys.readouterr().err
    assert "at least one file must be an image, got 1 file (unsupported_format)" in said
    assert "Jane" not in said
    assert not (tmp_path / "data" / "adapters").exists()


def test_a_tenth_of_the_images_is_held_out_but_never_more_than_64() -> None:
    for images, expected in ((1, 0), (9, 0), (10, 1), (640, 64), (5_000, 64)):
        training, held_out = encoder_adapter.divided(torch.arange(images), seed=1)
        assert len(held_out) == expected
        assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(images))
