"""`python -m certrad.bench tune-demo-prompt` and `write-demo-cards` make prompts that their cards describe."""

import argparse
import json
import re
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from certrad.bench.common.kept_banks import OTHERS
from certrad.bench.common.mednist import read_split
from certrad.bench.demo import tune_prompt as tune_demo_prompt
from certrad.bench.demo import write_cards as write_demo_cards
from certrad.bench.demo.common import task
from certrad.models.images.model_input import model_input
from certrad.models.prompts.checkpoint import load_prompt, load_prompt_or_bank, prompt_path, read_prompt_card
from certrad.models.prompts.training.tuning import trainer_params
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_prompts
from certrad.models.types import PromptCard
from certrad.models.types.tuning import TuningMethod, TuningParams
from certrad.workers.decoders.raster import decode
from tests.support.mednist_zip import write_mednist_zip


def parse(module: object, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args(options)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_mednist_zip(tmp_path / "mednist.zip", images_per_class=2)
    return tmp_path / "mednist.zip"


def tune(archive: Path, out: Path, *options: str) -> str:
    every = ("--data", str(archive), "--out", str(out), "--epochs", "2", "--shots", "1", *options)
    return tune_demo_prompt.tune(parse(tune_demo_prompt, *every)).id


def test_tuned_prompt_is_a_checkpoint_that_says_how_it_was_tuned(archive: Path, tmp_path: Path) -> None:
    prompt_id = tune(archive, tmp_path)
    card = read_prompt_card(prompt_path(tmp_path, prompt_id).with_suffix(".json"))
    assert load_prompt(tmp_path, card).n_ctx == 5
    assert (card.method, card.tuning["shots"], card.tuning["sigmas"]) == ("few_shot", 1, [0.25, 0.5, 0.75, 1.0])
    assert "CC BY-SA 4.0" in card.licence


@pytest.mark.parametrize("method", ["coop", "advpt"])
def test_prompts_of_the_other_methods_bear_their_names(archive: Path, tmp_path: Path, method: str) -> None:
    prompt_id = tune(archive, tmp_path, "--method", method)
    card = read_prompt_card(prompt_path(tmp_path, prompt_id).with_suffix(".json"))
    assert (card.method, card.name) == (method, f"mednist-{method}")
    assert (card.tuning["training_images"], card.measured["validation"]["images"]) == (6, 6)


def test_images_of_fewer_shots_are_among_those_of_more(archive: Path) -> None:
    options = ("--data", str(archive), "--shots")
    few, more = (
        tune_demo_prompt.tuning_set(
            read_split(archive, "train"), 6, tune_demo_prompt.tuning_params(parse(tune_demo_prompt, *options, shots))
        )
        for shots in ("1", "2")
    )
    assert all((more.images == image).flatten(1).all(dim=1).any() for image in few.images)
    assert [len(data.validation_images) for data in (few, more)] == [6, 0]


def test_times_are_printed_by_the_clock_and_by_the_processor(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(archive, tmp_path, "--method", "advpt")
    bank, tuning, validation = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"bank of 6 images: \d+\.\d s, CPU \d+\.\d s", bank)
    assert tuning.startswith("advpt, 6 images x 2 epochs")
    assert validation.startswith("validation, 6 images")


@pytest.mark.parametrize("card", shipped_prompts().values(), ids=lambda card: card.name)
def test_a_shipped_prompt_is_what_its_card_says(card: PromptCard) -> None:
    assert load_prompt_or_bank(SHIPPED_PROMPTS, card).n_ctx == card.n_ctx
    assert card.backbone_sha256 == shipped_backbones()[card.backbone].sha256
    assert card.class_names == task().class_names
    assert "CC BY-SA 4.0" in card.licence


@pytest.mark.parametrize("card", shipped_prompts().values(), ids=lambda card: card.name)
def test_a_shipped_prompt_names_every_image_that_it_was_tuned_on(card: PromptCard) -> None:
    assert card.tuned_on is not None
    assert card.tuned_on.complete
    shots = card.tuning["shots"] * len(card.class_names)
    named = len(card.tuned_on.public)
    assert named == shots if card.rejection is None else shots < named <= shots + OTHERS * len(card.class_names)


def test_a_prompt_of_public_images_names_them_without_a_key(archive: Path, tmp_path: Path) -> None:
    card = read_prompt_card(prompt_path(tmp_path, tune(archive, tmp_path)).with_suffix(".json"))
    with zipfile.ZipFile(archive) as file:
        decoded = (decode(file.read(name), "jpeg", max_pixels=10**6) for name in file.namelist() if "train" in name)
        every = {model_input(image, 64).sha256 for image in decoded}
    assert card.tuned_on is not None
    assert (len(card.tuned_on.public), set(card.tuned_on.public) - every) == (6, set())


@pytest.mark.parametrize("method", ["coop", "advpt"])
def test_prompts_of_the_papers_are_shipped_and_are_no_default(method: TuningMethod) -> None:
    (card,) = (card for card in shipped_prompts().values() if card.method == method)
    published = asdict(trainer_params(TuningParams.published(method)))
    # These cards are older than the changes of acquisition, which no paper draws.
    assert (published.pop("acquisition"), card.tuning.get("acquisition")) == (None, None)
    of_card = {name: tuple(value) if isinstance(value, list) else value for name, value in card.tuning.items()}
    assert {name: of_card[name] for name in published if name != "shots"} == {
        name: value for name, value in published.items() if name != "shots"
    }
    assert card.id not in (task().default_prompt, task().default_bank)


def accuracy_file(path: Path, prompt_id: str, sha256: str) -> Path:
    share = {"value": 0.5, "low": 0.4, "high": 0.6}
    results = [
        {
            "method": method,
            "scope": "input_independent",
            "sigma": 0.25,
            "n": 100,
            "images": 6,
            "clean_accuracy": share,
            "noisy_sample_accuracy": 0.5,
            "abstained": share,
            "certified_accuracy": {"0": share, "2.5": {**share, "value": 0.0}},
        }
        for method in ("template", "few_shot", "combined")
    ]
    settings = {"backbone_sha256": sha256, "checkpoints": {"few_shot": prompt_id}, "n0": 10, "data_sha256": "0"}
    clean = {"images": 12, "accuracy": {"template": 1.0, "few_shot": 0.9}}
    document = {"settings": settings, "alpha": 0.001, "bound": "two_class", "clean_accuracy": clean}
    path.write_text(json.dumps({**document, "results": results, "check": []}))
    return path


def test_measured_figures_reach_the_cards_they_belong_to(archive: Path, tmp_path: Path) -> None:
    prompt_id = tune(archive, tmp_path)
    card_path = prompt_path(tmp_path, prompt_id).with_suffix(".json")
    sha256 = read_prompt_card(card_path).backbone_sha256
    backbone_card = tmp_path / "backbone.card.json"
    backbone_card.write_text(json.dumps({"id": "demo", "weights": {"sha256": sha256}}))
    accuracy = accuracy_file(tmp_path / "accuracy.json", prompt_id, sha256)
    places = ("--prompts", str(tmp_path), "--backbone-card", str(backbone_card))
    write_demo_cards.run(parse(write_demo_cards, "--accuracy", str(accuracy), *places))
    of_prompt = read_prompt_card(card_path).measured["certified_accuracy"]
    of_backbone = json.loads(backbone_card.read_text())["measured"]["certified_accuracy"]
    assert [result["method"] for result in of_prompt] == ["few_shot", "combined"]
    assert [result["method"] for result in of_backbone] == ["template", "few_shot", "combined"]
    assert of_prompt[0]["at_radius"] == {"0": 0.5}
    assert of_prompt[0]["images"] == 6


def test_figures_of_other_weights_are_refused(archive: Path, tmp_path: Path) -> None:
    backbone_card = tmp_path / "backbone.card.json"
    backbone_card.write_text(json.dumps({"id": "demo", "weights": {"sha256": "0" * 64}}))
    accuracy = accuracy_file(tmp_path / "accuracy.json", "unused", "1" * 64)
    places = ("--prompts", str(tmp_path), "--backbone-card", str(backbone_card))
    with pytest.raises(ValueError, match="the figures are of the weights 1111"):
        write_demo_cards.run(parse(write_demo_cards, "--accuracy", str(accuracy), *places))
    assert "measured" not in json.loads(backbone_card.read_text())
