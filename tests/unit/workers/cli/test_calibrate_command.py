"""`certrad prompts calibrate` makes a prompt that names its pool from a folder of unlabelled images."""

import json
from pathlib import Path
from typing import Any

import pytest

from certrad.models.images.model_input import model_input
from certrad.models.prompts.checkpoint import load_prompt, read_prompt_card
from certrad.models.prompts.training.calibration import CalibrationParams
from certrad.models.shipped import shipped_prompts, shipped_tasks
from certrad.models.types import ClassifierSpec, PromptCard
from certrad.models.types.tuned_on import TunedOn
from certrad.workers.cli import main as cli
from certrad.workers.decoders.raster import decode
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline import calibration
from tests.support.images import encoded, noise

TASK = shipped_tasks()["mednist"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them twice, and a file that is none."""
    directory = tmp_path / "images"
    directory.mkdir()
    for name, seed in (("Jane Doe 1.png", 1), ("Jane Doe 2.png", 2), ("Jane Doe 3.png", 2)):
        (directory / name).write_bytes(encoded(noise(70, 64, seed=seed), "PNG"))
    (directory / "Jane Doe.txt").write_text("no image")
    return directory


@pytest.fixture
def calibrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command with few samples, on a data directory of its own and without a service."""
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://127.0.0.1:1/0")
    whole = CalibrationParams
    monkeypatch.setattr(
        calibration, "CalibrationParams", lambda **given: whole(**given, copies=1, steps=2, batch_size=4)
    )
    return lambda *options: cli.main(["prompts", "calibrate", *map(str, options)])


@pytest.mark.parametrize("start", [TASK.default_prompt, "template"])
def test_the_prompt_is_stored_and_names_its_pool_but_no_file(
    start: str, folder: Path, calibrate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate("--images", folder, "--name", "site", "--prompt", start) == 0
    out, err = capsys.readouterr()
    prompts = tmp_path / "data" / "prompts"
    card = read_prompt_card(next(prompts.glob("site-*.json")))
    assert json.loads(out)["id"] == card.id
    assert (card.method, card.class_names, card.tuning["start"]) == ("calibrated", TASK.class_names, start)
    assert (card.tuning["pool_images"], len(card.tuning["pool_sha256"])) == (2, 64)
    assert load_prompt(prompts, card).n_ctx == card.n_ctx
    assert (
        ClassifierSpec(backbone="demo", prompt=card.id, class_names=card.class_names, template="{}").scope
        == "input_independent"
    )
    assert "1 file left out: same_image" in err
    assert "1 file left out: unsupported_format" in err
    assert "Jane" not in out + err


def stored(data_dir: Path, name: str) -> tuple[PromptCard, TunedOn]:
    """The card of a prompt, and its record of images."""
    card = read_prompt_card(next((data_dir / "prompts").glob(f"{name}-*.json")))
    assert card.tuned_on is not None
    return card, card.tuned_on


def recorded(record: TunedOn, folder: Path, data_dir: Path) -> list[list[str]]:
    """Returns, for each epoch of a record, the names of the images that its secret finds in it."""
    secrets = EpochSecrets(data_dir / "secrets")
    found = []
    for images in record.keyed:
        epoch = secrets.named(images.epoch_sha256)
        assert epoch is not None
        found.append(
            [
                path.name
                for path in sorted(folder.glob("*.png"))
                if images.includes(
                    epoch.secret, model_input(decode(path.read_bytes(), "png", max_pixels=10**6), 64).sha256
                )
            ]
        )
    return found


def test_every_image_of_the_pool_is_recorded_under_the_secret_of_the_data_directory(
    folder: Path, calibrate: Any, tmp_path: Path
) -> None:
    assert calibrate("--images", folder, "--name", "site", "--prompt", "template") == 0
    card, record = stored(tmp_path / "data", "site")
    assert recorded(record, folder, tmp_path / "data") == [["Jane Doe 1.png", "Jane Doe 2.png", "Jane Doe 3.png"]]
    assert len(record.keyed[0].digests) == card.tuning["pool_images"]
    assert (record.public, record.complete) == ((), True)


def test_the_images_of_the_prompt_that_it_starts_from_stay_recorded_over_a_rotation(
    folder: Path, calibrate: Any, tmp_path: Path
) -> None:
    (folder / "Jane Doe 1.png").rename(tmp_path / "Jane Doe 1.png")
    assert calibrate("--images", folder, "--name", "first", "--prompt", TASK.default_prompt) == 0
    first, _ = stored(tmp_path / "data", "first")
    EpochSecrets(tmp_path / "data" / "secrets").rotate()
    (folder / "Jane Doe 2.png").unlink()
    (folder / "Jane Doe 3.png").rename(tmp_path / "Jane Doe 3.png")
    (tmp_path / "Jane Doe 1.png").rename(folder / "Jane Doe 1.png")
    assert calibrate("--images", folder, "--name", "second", "--prompt", first.id) == 0
    _, record = stored(tmp_path / "data", "second")
    (tmp_path / "Jane Doe 3.png").rename(folder / "Jane Doe 3.png")
    assert sorted(recorded(record, folder, tmp_path / "data")) == [["Jane Doe 1.png"], ["Jane Doe 3.png"]]
    shipped = shipped_prompts()[str(TASK.default_prompt)].tuned_on
    assert shipped is not None
    assert (record.public, record.complete) == (shipped.public, True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--prompt", TASK.default_bank), 1),
        (("--prompt", "nothing-0123456789abcdef"), 2),
        (("--task", "nothing"), 2),
        (("--sigmas", "0.25,many"), 2),
        (("--sigmas", "9"), 2),
        (("--name", "../site"), 2),
    ],
)
def test_what_cannot_be_adapted_is_refused(options: tuple[str, ...], code: int, folder: Path, calibrate: Any) -> None:
    assert calibrate("--images", folder, "--name", "site", *options) == code


def test_a_folder_without_images_is_refused(calibrate: Any, tmp_path: Path) -> None:
    assert calibrate("--images", tmp_path, "--name", "site") == 2
