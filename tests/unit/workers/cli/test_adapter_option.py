"""`--adapter` of the commands that compute without a service: the encoder that they use, and what they say of it."""

import json
from pathlib import Path

import pytest
import torch

from certrad.models.adapters.checkpoint import save_adapter
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.prompts.checkpoint import save_prompt
from certrad.models.prompts.context import ContextVectors
from certrad.models.shipped import shipped_adapters, shipped_backbones, shipped_tasks
from certrad.models.types import AdapterCard, PromptCard
from certrad.workers.cli.main import main
from certrad.workers.offline.classifiers import load_encoder, stored_adapters
from certrad.workers.settings import WorkerSettings
from tests.support.adapters import random_changes
from tests.support.commands import arguments
from tests.support.images import encoded, noise

TASK = shipped_tasks()["mednist"]
UNKNOWN = "site-0123456789abcdef"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and no service."""
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CERTRAD_THREADS", "1")
    return tmp_path / "data"


@pytest.fixture
def adapter(data_dir: Path) -> AdapterCard:
    backbone = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    changes = random_changes(backbone)
    return save_adapter(data_dir / "adapters", *changes, name="site", backbone=backbone, sigma_range=(0.1, 1.0))


@pytest.fixture
def prompt(data_dir: Path, adapter: AdapterCard) -> PromptCard:
    """A prompt that was tuned on the adapted encoder."""
    backbone = load_encoder(shipped_backbones()["demo"], adapter, WorkerSettings(data_dir=data_dir))
    return save_prompt(
        data_dir / "prompts",
        ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(0)),
        name="mine",
        method="few_shot",
        backbone=backbone,
        class_names=TASK.class_names,
        task=TASK.id,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "1.png"
    path.parent.mkdir()
    path.write_bytes(encoded(noise(64, 64, seed=1), "PNG"))
    return path


def attacked(capfd: pytest.CaptureFixture[str], image: Path, **changes: object) -> dict[str, object]:
    assert main(arguments("attack", image, attack="pgd10", json=True, **changes)) == 0
    answer: dict[str, object] = json.loads(capfd.readouterr().out)
    return answer


def test_attack_names_the_adapter_and_that_of_its_prompt(
    adapter: AdapterCard, prompt: PromptCard, image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert attacked(capfd, image, prompt="template", adapter="none")["adapter"] is None
    assert attacked(capfd, image, prompt="template", adapter=adapter.id)["adapter"] == adapter.id
    assert attacked(capfd, image, prompt=prompt.id)["adapter"] == adapter.id


def test_audit_is_of_the_adapted_encoder(adapter: AdapterCard, image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = {"images": image.parent, "n": 100, "modes": "template/none", "processes": 1, "json": True}
    assert main(arguments("audit", **given, adapter=adapter.id)) in (0, 1)
    (mode,) = json.loads(capfd.readouterr().out)["settings"]["modes"]
    assert mode["classifier"]["adapter"] == adapter.id


def test_evaluation_records_the_digest_of_the_adapter(
    adapter: AdapterCard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(TASK.class_names[:2]):
        folder = tmp_path / "split" / name
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(encoded(noise(64, 64, seed=seed), "PNG"))
    given = {"task": "folders", "data": tmp_path / "split", "backbone": "demo", "template": "a {}", "images": 2}
    assert main(arguments("evaluate", **given, prompt="template", n=100, json=True, adapter=adapter.id)) == 0
    settings = json.loads(capfd.readouterr().out)["settings"]
    assert (settings["classifier"]["adapter"], settings["adapter_sha256"]) == (adapter.id, adapter.sha256)


@pytest.mark.parametrize("command", ["attack", "audit", "evaluate"])
def test_unknown_adapter_is_bad_usage(
    command: str, adapter: AdapterCard, image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, dict[str, object]] = {
        "attack": {},
        "audit": {"images": image.parent},
        "evaluate": {"task": "mednist", "data": image.parent},
    }
    paths = [image] if command == "attack" else []
    assert main(arguments(command, *paths, **given[command], adapter=UNKNOWN)) == 2
    known = ", ".join(("none", *sorted((*shipped_adapters(), adapter.id))))
    assert f"`--adapter` must be one of {known}; got {UNKNOWN!r}" in capfd.readouterr().err


@pytest.mark.parametrize("other", ["none"])
def test_prompt_of_an_adapted_encoder_is_refused_with_another(
    other: str, prompt: PromptCard, image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("attack", image, prompt=prompt.id, adapter=other)) == 2
    assert "`--prompt` goes with the adapter" in capfd.readouterr().err


def test_damaged_card_hides_no_other_adapter_and_is_told(
    data_dir: Path, adapter: AdapterCard, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir / "adapters" / f"{UNKNOWN}.json").write_text("{")
    assert set(stored_adapters(AdapterStore(own=data_dir / "adapters"))) == {adapter.id, *shipped_adapters()}
    assert f"warning: the adapter {UNKNOWN} is left out" in capsys.readouterr().err
