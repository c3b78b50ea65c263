"""`certrad prompts calibrate`: a folder of unlabelled images in, a prompt that names its pool out."""

import json
from pathlib import Path
from typing import Any

import pytest

from certrad.models.prompts.checkpoint import load_prompt, read_prompt_card
from certrad.models.prompts.training.calibration import CalibrationParams
from certrad.models.shipped import shipped_tasks
from certrad.models.types import ClassifierSpec
from certrad.workers.cli import main as cli
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
