"""`certrad evaluate` makes the field's table and certified accuracy from a split of a data set."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.errors import Rejected
from certrad.models.evaluation.certified import ABSTAINED, REJECTED, Evaluation, Row, summary
from certrad.models.evaluation.noised_image import NoisedImage
from certrad.models.images.model_input import fitted
from certrad.models.images.pixel_map import PixelMap
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.rejection import Rejection
from certrad.models.prompts.store import PromptStore
from certrad.models.shipped import shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.smoothing import Stream
from certrad.models.smoothing.accuracy import RADII
from certrad.models.types import ClassifierSpec, GatedAdaptation, SmoothingParams, ZeroShotAdaptation
from certrad.models.types.rejection import with_unlike
from certrad.workers.cli.main import main
from tests.support import images
from tests.support.commands import arguments
from tests.support.miniature_datasets import folders_of_classes, write

TASK = shipped_tasks()["mednist"]
SPEC = ClassifierSpec(backbone="demo", prompt="template", class_names=TASK.class_names, template=TASK.template)
HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"


def options(data: Path, **changes: object) -> list[str]:
    """The arguments, few and small."""
    fields = {"task": "mednist", "data": data, "images": 3, "n0": 10, "n": 20, "prompt": "template"}
    return arguments("evaluate", **(fields | changes))


def row(index: int, label: int = 0, predict: int = 0, radius: float = 0.3) -> Row:
    return Row(index=index, label=label, predict=predict, radius=radius, seconds=1.5)


@pytest.fixture(scope="module")
def mednist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("mednist", tmp_path_factory.mktemp("data"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and blocks as small as the numbers of samples asked for here."""
    monkeypatch.setenv("CERTRAD_THREADS", "1")
    monkeypatch.setenv("CERTRAD_BLOCK_SIZE", "10")


def without_times(path: Path) -> list[str]:
    return [line.rpartition("\t")[0] for line in path.read_text().splitlines()]


# -- rows and their sum ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 1.25, 61.000001, 90_061.5, 200_000.0])
def test_row_is_read_back_as_it_was_written(seconds: float) -> None:
    written = replace(row(7, label=2, predict=ABSTAINED, radius=0.0), seconds=seconds)
    assert Row.from_line(written.to_line()) == written


def test_row_is_that_of_the_field() -> None:
    assert row(7, label=2, predict=2, radius=0.4547).to_line() == "7\t2\t2\t0.4547\t1\t0:00:01.500000"
    assert row(7, label=2, predict=-1, radius=0.0).to_line() == "7\t2\t-1\t0.0\t0\t0:00:01.500000"


def test_certified_accuracy_counts_correct_images_of_those_seen() -> None:
    found = summary([row(0), row(1, radius=0.1), row(2, label=1), row(3, predict=ABSTAINED, radius=0.0)])
    accuracy = {radius: share.value for radius, share in found["certified_accuracy"].items()}
    assert accuracy == {f"{r:g}": 0.5 if r <= 0.1 else 0.25 if r <= 0.25 else 0.0 for r in RADII}
    assert (found["images"], found["abstained"].value, found["seconds_per_image"]) == (4, 0.25, 1.5)


def test_the_extra_class_of_a_bank_is_neither_right_nor_an_abstention() -> None:
    gated = replace(SPEC, prompt="bank", template="{}", adaptation=GatedAdaptation())
    spec = replace(gated, class_names=with_unlike(TASK.class_names))
    asked = evaluation(spec=spec, prompt=always_unlike(), classes=range(6))
    rows = certified(asked, 1)
    assert [each.predict for each in rows] == [REJECTED]
    assert rows[0].radius > 0
    found = summary([*rows, row(0)])
    assert (found["rejected"].value, found["abstained"].value) == (0.5, 0.0)
    assert found["certified_accuracy"]["0"].value == 0.5


def test_share_comes_with_its_exact_binomial_interval() -> None:
    share = summary([row(index) for index in range(10)])["certified_accuracy"]["0"]
    assert (share.value, share.low, share.high) == (1.0, round(0.025 ** (1 / 10), 6), 1.0)


# -- certificates ------------------------------------------------------------------------------------------------------


def always_unlike() -> Bank:
    """The shipped bank with an extra class that every sample gets."""
    bank = PromptStore(own=Path()).load(shipped_prompts()[TASK.default_bank or ""])
    assert isinstance(bank, Bank)
    features = torch.nn.functional.normalize(torch.ones(len(bank.members), bank.gate.hidden.shape[-1]), dim=-1)
    extra = Rejection(features=features, gate=bank.gate, sigmas=(0.1, 1.0), biases=(1e6, 1e6))
    return replace(bank, rejection=extra)


def evaluation(**changes: object) -> Evaluation:
    fields = {
        "backbone": load_backbone(shipped_backbones()["demo"], EMBEDDED),
        "spec": SPEC,
        "classes": range(len(TASK.class_names)),
        "prompt": None,
        "params": SmoothingParams(sigma=0.5, n0=10, n=40),
        "seed": 0,
        "batch_size": 10,
    }
    return Evaluation(**(fields | changes))  # type: ignore[arg-type]


def pixels_of(seed: int) -> NDArray[np.float32]:
    return (images.noise(3, 64, 64, seed=seed) / np.float32(255)).astype(np.float32)


def of_input(seed: int) -> NoisedImage:
    return NoisedImage(pixels=pixels_of(seed))


def of_image(seed: int, rows: int = 48, columns: int = 40) -> NoisedImage:
    pixels = images.noise(rows, columns, 1, seed=seed).astype(np.float64) / 255
    return NoisedImage.of(fitted(pixels, 64), pixels, "crop", "image")


def certified(asked: Evaluation, *seeds: int) -> list[Row]:
    return list(asked.certified([(seed, 0, of_input(seed)) for seed in seeds], lambda: 0.0))


def test_row_of_an_image_does_not_depend_on_its_companions() -> None:
    asked = evaluation()
    together = certified(asked, 1, 2)
    assert [certified(asked, seed)[0] for seed in (2, 1)] == together[::-1]


def test_noise_is_a_function_of_seed_pixels_and_sigma() -> None:
    asked = evaluation()
    noise = asked.sampler(of_input(1)).noise
    others = [
        asked.sampler(of_input(2)).noise,
        replace(asked, seed=1).sampler(of_input(1)).noise,
        replace(asked, params=SmoothingParams(sigma=0.25)).sampler(of_input(1)).noise,
    ]
    assert noise not in others
    assert replace(asked, spec=replace(SPEC, template="{}")).sampler(of_input(1)).noise == noise


def test_noise_on_the_image_reaches_the_encoder_through_the_map_of_its_shape() -> None:
    asked, image = evaluation(), of_image(1)
    assert image.map is not None
    assert (image.map.of_rows, image.map.of_columns) == (48, 40)
    assert image.pixels.shape == image.map.shape == (1, 44, 40)  # what the crop does not read gets no noise
    sampler = asked.sampler(image)
    noisy = replace(sampler, pixel_map=None).batch(Stream.SELECT, 0)
    mapped = [PixelMap.of(image.map, 64).of_array(each.numpy()) for each in noisy]
    assert np.array_equal(sampler.batch(Stream.SELECT, 0).numpy(), np.stack(mapped))
    (row_,) = asked.certified([(3, 0, image)], lambda: 0.0)
    assert row_.index == 3


def test_image_that_is_too_large_for_the_noise_is_refused_with_the_code_of_the_service() -> None:
    huge = NoisedImage(pixels=np.broadcast_to(np.float64(0.5), (3, 4000, 4000)), map=of_image(1).map)
    with pytest.raises(Rejected) as refused:
        evaluation().sampler(huge)
    assert refused.value.code == "image_too_large_for_noise"


def test_class_is_told_by_its_index_among_the_labels() -> None:
    indices = [10, 11, 12, 13, 14, 15]
    assert certified(evaluation(classes=indices), 1)[0].predict == 10 + certified(evaluation(), 1)[0].predict


def test_adaptation_is_what_is_certified() -> None:
    certain = replace(SPEC, adaptation=ZeroShotAdaptation(samples=10, steps=20, lr=0.02))
    # Noise alone: all noisy copies get one class, with the template, and another one, once it is tuned on them.
    assert certified(evaluation(spec=certain), 1)[0].predict != certified(evaluation(), 1)[0].predict


def test_adaptation_starts_anew_for_every_image() -> None:
    asked = evaluation(spec=replace(SPEC, adaptation=ZeroShotAdaptation(samples=10)))
    assert certified(asked, 1, 2)[1] == certified(asked, 2)[0]


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_interrupted_run_goes_on_to_the_rows_of_an_uninterrupted_one(mednist: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.tsv", tmp_path / "torn.tsv"
    assert main(options(mednist, out=whole)) == 0
    lines = whole.read_text().splitlines(keepends=True)
    assert lines[0] == HEADER + "\n"
    assert len(lines) == 4
    torn.write_text(lines[0] + lines[1] + lines[2][:4])
    torn.with_suffix(".json").write_text(whole.with_suffix(".json").read_text())
    assert main(options(mednist, out=torn)) == 0
    assert torn.read_text().startswith(lines[0] + lines[1])
    assert without_times(torn) == without_times(whole)


@pytest.mark.usefixtures("small")
def test_finished_table_is_summed_up_again_without_another_certificate(
    mednist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.tsv"
    assert main(options(mednist, out=out, json=True)) == 0
    first = json.loads(capfd.readouterr().out)
    monkeypatch.setattr("certrad.models.evaluation.certified.estimate", None)
    assert main(options(mednist, out=out, json=True)) == 0
    assert json.loads(capfd.readouterr().out) == first
    assert first["images"] == 3
    assert first["settings"]["images_of_split"] == 12
    assert first["settings"]["scope"] == "input_independent"
    assert set(first["certified_accuracy"]["0.25"]) == {"hits", "images", "value", "low", "high"}


@pytest.mark.usefixtures("small")
def test_certified_accuracy_is_drawn_against_the_radius(mednist: Path, tmp_path: Path) -> None:
    assert main(options(mednist, images=1, plot=tmp_path / "p.svg")) == 0
    assert "<svg" in (tmp_path / "p.svg").read_text()


@pytest.mark.usefixtures("small")
def test_table_of_other_settings_is_neither_continued_nor_overwritten(mednist: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.tsv"
    assert main(options(mednist, out=out, images=1)) == 0
    before = out.read_bytes()
    assert main(options(mednist, out=out, images=1, sigma=0.5)) == 2
    out.with_suffix(".json").unlink()
    assert main(options(mednist, out=out, images=1)) == 2
    assert out.read_bytes() == before


@pytest.mark.usefixtures("small")
def test_default_is_the_bank_that_the_service_answers_with_and_without_a_gate_the_prompt_of_the_task(
    mednist: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = {
        None: TASK.default_bank,
        "none": TASK.default_prompt,
        "gated": TASK.default_bank,
        "zero_shot": TASK.default_prompt,
    }
    for adaptation, prompt in asked.items():
        assert main(options(mednist, prompt=None, adaptation=adaptation, images=1, json=True)) == 0
        settings = json.loads(capfd.readouterr().out)["settings"]
        assert settings["classifier"]["prompt"] == prompt
        assert settings["scope"] == ("frozen_prompt" if adaptation == "zero_shot" else "input_independent")


@pytest.mark.usefixtures("small")
def test_table_says_what_the_figures_cover(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write("covid", tmp_path)
    asked = options(tmp_path, task="covid", backbone="demo", images=100, prompt=None, adaptation="zero_shot", n0=10)
    assert main(asked) == 0
    told = capfd.readouterr().out
    assert "6 of 6 images" in told
    assert "fixed seed" in told
    assert "frozen_prompt" in told


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("as_json", [False, True])
def test_images_of_nearly_one_grey_are_counted(
    as_json: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(("one", "two")):
        (data / name).mkdir(parents=True)
        picture = np.full((64, 64), 90, dtype=np.uint8) if number else images.noise(64, 64)
        (data / name / "0.png").write_bytes(images.encoded(picture, "PNG"))
    fields = {
        "task": "folders",
        "backbone": "demo",
        "prompt": None,
        "template": "a photo of a {}",
        "images": 2,
        "json": as_json,
    }
    assert main(options(data, **fields)) == 0
    out, err = capfd.readouterr()
    assert "low_contrast (1 of 2 images): " in (err if as_json else out)


@pytest.mark.usefixtures("small")
def test_two_classes_of_one_name_are_told_apart_by_their_first_label(tmp_path: Path) -> None:
    write("imagenet", tmp_path)
    names = "n01440764 missile", "n01443537 missile", "n02085620 chest X-ray"
    (tmp_path / "imagenet" / "classnames.txt").write_text("\n".join(names))
    out = tmp_path / "t.tsv"
    assert main(options(tmp_path, task="imagenet", backbone="demo", out=out)) == 0
    rows = [Row.from_line(line) for line in out.read_text().splitlines()[1:]]
    assert sorted(row.label for row in rows) == [0, 1, 2]
    assert {row.predict for row in rows} <= {ABSTAINED, 0, 2}


@pytest.mark.usefixtures("small")
def test_own_folder_is_evaluated_with_a_template_and_told_no_file_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders_of_classes(tmp_path, ("polyp", "normal"), 1)
    asked = {"task": "folders", "backbone": "demo", "prompt": None, "images": 5}
    assert main(options(tmp_path, **asked)) == 2
    assert main(options(tmp_path, **asked, template="an image of {}.")) == 0
    (tmp_path / "normal" / "Jane Doe.png").write_bytes(b"no picture")
    assert main(options(tmp_path, **asked, template="an image of {}.")) == 1
    out, err = capfd.readouterr()
    assert "image 1 of the split" in err
    assert "Jane" not in out + err


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "nothing"},
        {"split": "val"},
        {"data": Path("nowhere")},
        {"backbone": "nobody"},
        {"backbone": "plip", "prompt": None},
        {"backbone": "plip", "prompt": TASK.default_prompt},
        {"prompt": "nothing-0123456789abcdef"},
        {"prompt": TASK.default_bank, "adaptation": "none"},
        {"adaptation": "gated"},
        {"sigma": 9.0},
        {"template": "two {} {}"},
        {"template": "an image of {}.", "prompt": None},
    ],
)
@pytest.mark.usefixtures("small")
def test_bad_usage_ends_with_2_and_one_line(
    mednist: Path, wrong: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    data = wrong.pop("data", mednist)
    assert isinstance(data, Path)
    assert main(options(data, **wrong)) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_seed_below_zero_is_refused_by_its_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(options(tmp_path, seed=-1)) == 2
    assert "`--seed` must be a whole number, 0 to " in capfd.readouterr().err


@pytest.mark.usefixtures("small")
def test_prompt_of_other_classes_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = options(write("covid", tmp_path), task="covid", backbone="demo", prompt=TASK.default_prompt, images=1)
    assert main(asked) == 2
    assert "other classes" in capfd.readouterr().err


@pytest.mark.usefixtures("small")
def test_own_folders_are_matched_as_when_the_prompt_was_tuned(tmp_path: Path) -> None:
    spelled = ("abdomenct", "breastmri", "cxr", "chestct", "hand", "headct")  # sorted, "cxr" is behind "chestct"

    def correct(name: str, folders: Sequence[str]) -> set[str]:
        """The classes that equal pictures of each are certified for: one of them, where labels are what they say."""
        folders_of_classes(tmp_path / name, folders, 1)
        out = tmp_path / f"{name}.tsv"
        asked = options(tmp_path / name, task="folders", prompt=TASK.default_prompt, images=6, n=100, out=out)
        assert main(asked) == 0
        rows = map(Row.from_line, out.read_text().splitlines()[1:])
        class_of = dict(zip(folders, TASK.class_names, strict=True))
        return {class_of[sorted(folders)[row.label]] for row in rows if row.correct}

    assert len(correct("named", TASK.class_names)) == 1
    assert correct("spelled", spelled) == correct("named again", TASK.class_names)


@pytest.mark.usefixtures("small")
def test_own_folders_that_are_not_the_classes_of_the_prompt_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders_of_classes(tmp_path, ("a", "b"), 1)
    assert main(options(tmp_path, task="folders", prompt=TASK.default_prompt, images=1)) == 2
    assert "class_mismatch" in capfd.readouterr().err
