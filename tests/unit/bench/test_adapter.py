"""`python -m certrad.bench train-adapter` and `adapter`: the shipped adapter, and what it is measured by."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from certrad.bench.common.adapter_training import chosen_inputs
from certrad.bench.common.mednist import LabelledImages, read_split
from certrad.bench.common.noisy_images import Record, as_input
from certrad.bench.common.two_towers import TwoTowers, adapter_settings
from certrad.bench.demo import train_adapter
from certrad.bench.measure import adapter as measure
from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.checkpoint import adapter_path, load_adapter, read_adapter_card
from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.classifier import TextHead
from certrad.models.errors import Rejected
from certrad.models.images.input_digests import input_digests
from certrad.models.shipped import SHIPPED_ADAPTERS, SHIPPED_PROMPTS, shipped_adapters, shipped_backbones, shipped_tasks
from certrad.models.smoothing import Noise, NoisySampler, Stream, labels
from certrad.models.types import AdapterCard
from tests.support.adapters import random_adapter
from tests.support.mednist_zip import write_mednist_zip

TASK = shipped_tasks()["mednist"]
FEW = ("--training-images", "8", "--steps", "2", "--rank", "2", "--threads", "1")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mednist.zip"
    write_mednist_zip(path, images_per_class=3)
    return path


@pytest.fixture(scope="module")
def trained(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AdapterCard]:
    folder = tmp_path_factory.mktemp("adapters")
    options = ("--data", archive, "--out", folder, "--state", folder / "state", *FEW)
    return folder, train_adapter.train(parse(train_adapter, *options))


def parse(module: ModuleType, *options: object) -> Namespace:
    parser = ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([str(option) for option in options])


def test_the_adapter_is_saved_with_its_images_data_licence_and_command(
    archive: Path, trained: tuple[Path, AdapterCard]
) -> None:
    folder, card = trained
    assert read_adapter_card(adapter_path(folder, card.id).with_suffix(".json")) == card
    assert not (folder / "state").exists()
    assert card.training["command"] == "python -m certrad.bench train-adapter"
    assert "CC BY-SA 4.0. Trained on images of MedNIST" in card.licence
    assert card.trained_on is not None
    assert (len(card.trained_on.public), card.trained_on.keyed) == (8, ())
    images = read_split(archive, "train")
    known = input_digests(torch.stack([torch.from_numpy(as_input(pixels)) for pixels in images.pixels]))
    assert set(card.trained_on.public) < set(known)
    assert card.measured["held_out"]["images"] == 10  # the other images of the train split


def test_images_to_measure_on_are_none_of_those_to_train_on(archive: Path) -> None:
    images = read_split(archive, "train")
    training, held_out = chosen_inputs(images, 8, seed=0)
    assert not set(input_digests(training)) & set(input_digests(held_out))
    with pytest.raises(ValueError, match="got 18 of 18"):
        chosen_inputs(images, 18, seed=0)


def test_an_image_that_lies_several_times_in_the_split_is_chosen_once(archive: Path) -> None:
    images = read_split(archive, "train")
    thrice = LabelledImages(np.concatenate([images.pixels] * 3), np.concatenate([images.labels] * 3))
    training, held_out = chosen_inputs(thrice, 12, seed=0)
    assert (len(training), len(held_out)) == (12, 6)
    assert len({*input_digests(training), *input_digests(held_out)}) == 18
    with pytest.raises(ValueError, match="got 18 of 18 distinct ones"):
        chosen_inputs(thrice, 18, seed=0)


@pytest.fixture
def options(archive: Path, trained: tuple[Path, AdapterCard], tmp_path: Path) -> tuple[Any, ...]:
    folder, card = trained
    paths = ("--data", archive, "--journal", tmp_path / "journal", "--out", tmp_path / "out.json")
    samples = ("--images", 6, "--sigmas", 0.5, "--n0", 10, "--n", 20, "--batch-size", 10, "--dtype", "float32")
    return (*paths, *samples, "--adapter", adapter_path(folder, card.id), "--threads", 1)


def test_both_towers_are_counted_on_the_same_noise(options: tuple[Any, ...]) -> None:
    arguments = parse(measure, *options)
    frozen = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    adapter = random_adapter(frozen, size=0.5)  # which changes labels, as two steps of training do not
    towers = TwoTowers(adapter_settings(arguments, adapter, "0" * 64), adapter, Path("backbones"), SHIPPED_PROMPTS)
    job = measure.jobs(arguments, len(TASK.class_names))[3]
    record = towers.measure(job)
    sampler = NoisySampler(
        image=as_input(job.pixels),
        sigma=0.5,
        noise=Noise(towers.study.noise_key(job)),
        batch_size=10,
        device=torch.device("cpu"),
    )
    head = TextHead.of_template(frozen, TASK.class_names, TASK.template)
    for tower, backbone in (("frozen", frozen), ("adapted", adapted(frozen, adapter))):
        classifier = head.classifier(backbone, 0.5)
        with torch.inference_mode():
            parts = [labels(classifier.logits(sampler.batch(Stream.ESTIMATE, start))) for start in (0, 10)]
        counts = np.bincount(np.concatenate(parts), minlength=len(TASK.class_names) + 1).tolist()
        assert list(record.methods[f"{tower} template"].estimation) == counts
    assert record.methods["frozen template"] != record.methods["adapted template"]


def test_a_prompt_serves_no_other_tower_than_the_one_it_goes_with(options: tuple[Any, ...]) -> None:
    arguments = parse(measure, *options)
    frozen = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    (card,) = (card for card in shipped_adapters().values() if card.id == TASK.default_adapter)
    found = {}
    for adapter in (load_adapter(SHIPPED_ADAPTERS, card), random_adapter(frozen)):
        towers = TwoTowers(adapter_settings(arguments, adapter, "0" * 64), adapter, Path("backbones"), SHIPPED_PROMPTS)
        found[adapter.card.id] = {tower: sorted(heads) for tower, heads in towers.heads.items()}
    own, other = found.values()
    assert own == {"frozen": ["template"], "adapted": ["few_shot", "gated", "template"]}
    assert other == {"frozen": ["template"], "adapted": ["template"]}
    arguments.prompt = TASK.default_prompt
    with pytest.raises(Rejected, match="prompt_mismatch"):
        adapter_settings(arguments, random_adapter(frozen), "0" * 64)


def test_one_tower_can_be_measured_alone(options: tuple[Any, ...]) -> None:
    arguments = parse(measure, *options, "--towers", "adapted")
    adapter = random_adapter(load_backbone(shipped_backbones()["demo"], EMBEDDED))
    settings = adapter_settings(arguments, adapter, "0" * 64)
    towers = TwoTowers(settings, adapter, Path("backbones"), SHIPPED_PROMPTS)
    record = towers.measure(measure.jobs(arguments, len(TASK.class_names))[0])
    assert list(record.methods) == ["adapted template"]


def test_a_stopped_measurement_goes_on_and_is_written_with_its_table(
    options: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []
    measure_one = TwoTowers.measure

    def stops(towers: TwoTowers, job: Any) -> Record:
        if len(measured) == 4:
            raise RuntimeError("stopped")
        measured.append(job.index)
        return measure_one(towers, job)

    monkeypatch.setattr(TwoTowers, "measure", stops)
    with pytest.raises(RuntimeError, match="stopped"):
        measure.run(parse(measure, *options))
    first, measured[:] = [*measured], []
    measure.run(parse(measure, *options))
    assert len({*first, *measured}) == 6
    assert len(measured) == 2
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["images"], len(document["results"])) == (6, 2)
    assert "adapted template" in (tmp_path / "out.md").read_text()
    assert "adapted template" in capsys.readouterr().out
