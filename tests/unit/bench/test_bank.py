"""The bench tunes banks, calibrates prompts, and measures `gated` beside few-shot on the same pass."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from certrad.bench.common.mednist import TASK, read_split
from certrad.bench.common.noisy_images import ADAPTED, Study
from certrad.bench.demo import calibrate_prompt, tune_bank
from certrad.bench.measure import certified_accuracy
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import load_prompt, load_prompt_or_bank
from certrad.models.types import PromptCard
from tests.support.mednist_zip import write_mednist_zip


def parse(module: Any, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(options)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mednist.zip"
    write_mednist_zip(path, images_per_class=2)
    return path


@pytest.fixture(scope="module")
def bank(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PromptCard]:
    out = tmp_path_factory.mktemp("prompts")
    options = ("--data", str(archive), "--out", str(out), "--shots", "1", "--epochs", "1", "--steps", "2")
    levels = ("--sigmas", "0.25", "0.5", "--member-sigmas", "0.5", "--copies", "2")
    return out, tune_bank.tune(parse(tune_bank, *options, *levels))


def test_a_tuned_bank_is_a_checkpoint_that_says_how_its_members_were_tuned(bank: tuple[Path, PromptCard]) -> None:
    directory, card = bank
    loaded = load_prompt_or_bank(directory, card)
    assert isinstance(loaded, Bank)
    assert (card.method, card.task) == ("bank", TASK)
    assert card.tuning["members"] == [{"sigma": 0.5, "start": "random"}, {"sigma": 0.5, "start": "template"}]
    assert card.tuning["gate_sha256"] == loaded.gate.sha256


def test_a_calibrated_prompt_names_the_digest_of_its_pool(archive: Path, tmp_path: Path) -> None:
    options = ("--data", str(archive), "--out", str(tmp_path), "--images", "3", "--copies", "1", "--steps", "1")
    cards = [calibrate_prompt.adapt_to_pool(parse(calibrate_prompt, *options, "--seed", seed)) for seed in "01"]
    assert load_prompt(tmp_path, cards[0]).class_specific
    assert [card.method for card in cards] == ["calibrated", "calibrated"]
    assert cards[0].tuning["pool_sha256"] != cards[1].tuning["pool_sha256"]


def test_gated_is_measured_beside_few_shot_on_the_same_pass(archive: Path, bank: tuple[Path, PromptCard]) -> None:
    directory, card = bank
    settings = certified_accuracy.study_settings(
        parse(
            certified_accuracy,
            *("--data", str(archive), "--journal", "unused", "--out", "unused", "--prompt", card.id, "--bank", card.id),
            *("--methods", "template", "gated", "--n0", "10", "--n", "10", "--batch-size", "10", "--images", "6"),
        )
    )
    assert not ADAPTED & set(settings.methods)
    study = Study(settings, Path(), directory)
    images = read_split(archive, "test")
    arguments = argparse.Namespace(images=6, seed=0, sigmas=[0.25], check_images=0, check_sigmas=[])
    job = certified_accuracy.jobs(images, len(settings.class_names), arguments)[0]
    record = study.measure(job)
    assert set(record.methods) == {"template", "gated"}
    assert sum(record.methods["gated"].estimation) == 10
    assert settings.passes(job) == 1 + 10 + 10
