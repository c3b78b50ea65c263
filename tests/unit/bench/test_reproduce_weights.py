"""`python -m certrad.bench reproduce` on other weights than a backbone's: no result serves another file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import resnet18

from certrad.bench.reproduce.plan.experiment import AttackedAccuracy, CertifiedAccuracy
from certrad.bench.reproduce.plan.plan import ADVPT_TABLE_2, DIFFUSION, TABLE_2, VANILLA
from certrad.bench.reproduce.run import surrogates
from certrad.bench.reproduce.run.attacked import attacked_accuracy
from certrad.bench.reproduce.run.certified import certified_accuracy
from certrad.bench.reproduce.run.materials import Materials
from certrad.bench.reproduce.run.surrogates import trained_surrogate
from certrad.models.attacks.surrogate import HeadParams, body_and_head
from certrad.models.shipped import shipped_backbones
from tests.support.diffusion_models import tiny_unet, write_pipeline
from tests.support.mednist_zip import write_mednist_zip

IMAGES = 2
SMALL: dict[str, Any] = {"backbones": ("demo",), "datasets": ("mednist",), "images": IMAGES}


def scaled(path: Path, factor: float) -> None:
    """Multiply every tensor of a file: as trained weights look, normalisations that are not one."""
    save_file({name: tensor * factor for name, tensor in load_file(path).items()}, path)


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    """MedNIST in miniature, the shipped model, and a tiny diffusion model."""
    write_mednist_zip(tmp_path / "mednist.zip", 4)
    write_pipeline(tmp_path / "backbones" / "diffusion", tiny_unet())
    scaled(weights_of(tmp_path), 0.9)
    return Materials(data=tmp_path / "mednist.zip", backbones=tmp_path / "backbones", out=tmp_path / "out")


def weights_of(root: Path) -> Path:
    return root / "backbones" / "diffusion" / "unet" / "diffusion_pytorch_model.safetensors"


def units_in(folder: Path) -> int:
    (journal,) = folder.glob("*.jsonl")
    return len(journal.read_text().splitlines()) - 1


def test_units_of_diffusion_smoothing_serve_their_own_weights_only(materials: Materials, tmp_path: Path) -> None:
    table: CertifiedAccuracy = replace(TABLE_2, **SMALL, methods=(replace(DIFFUSION, images=None),), n0=10, n=10)
    table = replace(table, sigmas=(0.25,))
    certified_accuracy(table, materials)
    certified_accuracy(table, materials)
    assert units_in(materials.out / table.id) == IMAGES
    scaled(weights_of(tmp_path), 0.9)
    certified_accuracy(table, materials)
    assert units_in(materials.out / table.id) == 2 * IMAGES


def test_units_behind_a_defence_serve_its_own_weights_only(materials: Materials, tmp_path: Path) -> None:
    table: AttackedAccuracy = replace(ADVPT_TABLE_2, **SMALL, threats=("clean",), defences=("none", "diffpure"))
    table = replace(table, methods=(VANILLA,))
    attacked_accuracy(table, materials)
    attacked_accuracy(table, materials)
    assert units_in(materials.out / table.id) == 2
    scaled(weights_of(tmp_path), 0.9)
    attacked_accuracy(table, materials)
    assert units_in(materials.out / table.id) == 3


def test_configuration_of_a_model_is_part_of_its_digest(materials: Materials, tmp_path: Path) -> None:
    before = materials.weights_sha256("diffusion")
    write_pipeline(tmp_path / "backbones" / "diffusion", tiny_unet(), beta_end=0.03)
    scaled(weights_of(tmp_path), 0.9)
    assert materials.weights_sha256("diffusion") != before


def test_surrogate_is_of_its_own_body_and_images_only(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny_body(directory: Path) -> tuple[nn.Module, nn.Linear]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return body_and_head(resnet18())

    monkeypatch.setattr(surrogates, "load_resnet50", tiny_body)
    monkeypatch.setattr(surrogates, "HeadParams", lambda seed: HeadParams(epochs=1, seed=seed))
    weights, card = materials.backbones / "resnet50" / "resnet50.safetensors", shipped_backbones()["demo"]
    weights.parent.mkdir()
    save_file({"bn1.weight": torch.full((2,), 0.5)}, weights)
    first = trained_surrogate(materials, card, "mednist", 0)
    assert trained_surrogate(materials, card, "mednist", 0) == first
    scaled(weights, 0.9)
    of_other_body = trained_surrogate(materials, card, "mednist", 0)
    write_mednist_zip(materials.data, 5)
    of_other_images = trained_surrogate(materials, card, "mednist", 0)
    found = (first, of_other_body, of_other_images)
    assert len({surrogate.sha256 for surrogate in found}) == len({surrogate.head for surrogate in found}) == 3
    heads = {path.name for path in (materials.out / "surrogates").iterdir()}
    assert heads == {surrogate.head for surrogate in found}
