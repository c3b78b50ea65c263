"""`python -m certrad.bench reproduce` runs whole on miniatures, names what is missing, and goes on after a kill."""

import csv
import io
import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from certrad.bench.reproduce import command
from certrad.bench.reproduce.plan.experiment import AttackedAccuracy, AttackedMethod, CertifiedAccuracy, SmoothedMethod
from certrad.bench.reproduce.plan.plan import (
    ADVPT_TABLE_2,
    ADVPT_TABLE_4,
    ADVPT_TABLE_5,
    EFFICIENCY,
    PLAN,
    TABLE_2,
    TABLE_5,
    TEMPLATE,
)
from certrad.bench.reproduce.plan.quick import quick_plan, reduced
from certrad.bench.reproduce.report.report import write_report
from certrad.bench.reproduce.run import adapters, learned
from certrad.bench.reproduce.run.attacked import attacked_accuracy, every_fifth
from certrad.bench.reproduce.run.certified import CERTIFICATE, TRAINING, certification_time, certified_accuracy
from certrad.bench.reproduce.run.denoisers import trained_denoiser
from certrad.bench.reproduce.run.efficiency import training_efficiency
from certrad.bench.reproduce.run.materials import Materials, listing_sha256, require_trained
from certrad.bench.reproduce.run.noisy_pass import NoisyImage, PassWorker
from certrad.bench.reproduce.run.result import BEST_SIGMA, KNOWN, NOT_KNOWN
from certrad.bench.reproduce.run.units import Kept, Workforce
from certrad.bench.reproduce.run.words import RANDOM, nearest_words
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.trainer import train_adapter
from certrad.models.adapters.training.trainer_state import AdapterState
from certrad.models.backbones.weights import file_sha256
from certrad.models.baselines.denoiser_training import DenoiserParams
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing.encoded import EncodedSampler
from certrad.models.smoothing.sampling import NoisySampler
from certrad.models.types.tuning import TuningParams
from tests.support import miniature_datasets
from tests.support.mednist_zip import write_mednist_zip
from tests.support.tiny_clip import tiny_hf_config, write_hf_clip


def tiny(params: TuningParams) -> TuningParams:
    """One image a class, one epoch, two vectors."""
    return replace(params, shots=1, epochs=1, n_ctx=2)


def tiny_method(method: SmoothedMethod) -> SmoothedMethod:
    adapter = method.adapter and replace(method.adapter, steps=2, batch_size=2, rank=1)
    return replace(method, tuning=method.tuning and tiny(method.tuning), adapter=adapter)


def tiny_table(experiment: CertifiedAccuracy) -> CertifiedAccuracy:
    """Three images, 20 samples, one sigma."""
    adapted = [
        replace(method, adaptation=method.adaptation and replace(method.adaptation, samples=10))
        for method in map(tiny_method, experiment.methods)
    ]
    return replace(experiment, images=3, n0=10, n=20, sigmas=(0.25,), methods=tuple(adapted))


def tiny_attacks(experiment: AttackedAccuracy, *threats: str) -> AttackedAccuracy:
    """Three images, two steps."""
    methods = tuple(
        AttackedMethod(name=method.name, tuning=method.tuning and tiny(method.tuning), probe=method.probe)
        for method in experiment.methods
    )
    return replace(experiment, images=3, steps=2, batch_size=2, methods=methods, threats=threats)  # type: ignore[arg-type]


@pytest.fixture
def on_demo(tmp_path: Path) -> Materials:
    """MedNIST in miniature and the shipped model; no other weights."""
    write_mednist_zip(tmp_path / "mednist.zip", 4)
    return Materials(data=tmp_path / "mednist.zip", backbones=tmp_path / "backbones", out=tmp_path / "out")


def pin(directory: Path, weights: str) -> None:
    """Returns what `certrad fetch` leaves beside weights."""
    facts = {"hub": "test", "weights": weights, "sha256": file_sha256(directory / weights)}
    (directory / "pin.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def as_published(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    """KatherColon in its published layout, and a tiny model in the on-disk format of PLIP."""
    root = tmp_path_factory.mktemp("published")
    miniature_datasets.write("kathercolon", root / "data")
    config = tiny_hf_config()
    vision: Any = config.vision_config
    vision.image_size, vision.patch_size = 224, 56
    write_hf_clip(root / "backbones" / "plip", config)
    pin(root / "backbones" / "plip", "model.safetensors")
    return Materials(data=root / "data", backbones=root / "backbones", out=root / "out")


@pytest.fixture
def mednist_table() -> CertifiedAccuracy:
    """PromptSmooth's table as `--quick` has it, smaller still."""
    return tiny_table(quick_plan()[0])


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_table_runs_on_the_published_layout_beside_the_printed_values(as_published: Materials) -> None:
    table = tiny_table(replace(TABLE_2, methods=tuple(m for m in TABLE_2.methods if m.denoiser != "dncnn")))
    report = write_report(table, certified_accuracy(table, as_published), as_published)
    best = {(r["row"], r["column"]): r for r in rows_of(report.csv) if r["condition"] == BEST_SIGMA}
    assert len(best) == 7 * 7
    combined = best["promptsmooth", "R ≥ 0.5"]
    assert (combined["printed"], combined["images"], combined["scope"]) == ("74.8", "3", "frozen_prompt")
    assert float(combined["low"]) <= float(combined["measured"]) <= float(combined["high"])
    missing = best["diffusion_smoothing", "R ≥ 0.1"]
    assert (missing["measured"], missing["printed"], missing["scope"]) == ("", "57", "input_independent")
    assert missing["needs"]
    assert "not run: needs" in report.markdown
    assert "· 74.8 (clean 76.6) |" in report.markdown
    assert "n = 20" in report.markdown
    for suffix in ("csv", "md", "png"):
        assert (as_published.out / f"{table.id}.{suffix}").stat().st_size > 0


def test_all_methods_of_an_image_encoder_share_one_pass_of_noisy_images(
    on_demo: Materials, mednist_table: CertifiedAccuracy, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def counted(*, pixels: NoisySampler, encode: Callable[[torch.Tensor], torch.Tensor]) -> EncodedSampler:
        def counting(noisy: torch.Tensor) -> torch.Tensor:
            encoded.append(len(noisy))
            return encode(noisy)

        return EncodedSampler(pixels=pixels, encode=counting)

    monkeypatch.setattr("certrad.bench.reproduce.run.noisy_pass.EncodedSampler", counted)
    certified_accuracy(mednist_table, on_demo)
    # The clean image, and the samples of selection, estimation and adaptation; by the adapted encoder, all but these.
    assert sum(encoded) == 3 * (1 + 10 + 20 + 10) + 3 * (1 + 10 + 20)


def test_killed_run_goes_on_to_the_identical_csv(
    on_demo: Materials, mednist_table: CertifiedAccuracy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_report(mednist_table, certified_accuracy(mednist_table, on_demo), on_demo).csv
    computed: list[NoisyImage] = []
    measure = PassWorker.__call__

    def killed_at_the_third(self: PassWorker, unit: NoisyImage) -> Any:
        computed.append(unit)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return measure(self, unit)

    again = replace(on_demo, out=on_demo.out.with_name("again"))
    monkeypatch.setattr(PassWorker, "__call__", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        certified_accuracy(mednist_table, again)
    resumed = write_report(mednist_table, certified_accuracy(mednist_table, again), again).csv
    assert len(computed) == 3 + 1 + 3  # the third once more, and all by the adapted encoder
    assert resumed == whole


def test_killed_tuning_goes_on_at_its_last_epoch(on_demo: Materials, mednist_table: CertifiedAccuracy) -> None:
    method = replace(mednist_table.methods[3], tuning=replace(tiny(TuningParams.published("few_shot")), epochs=3))
    table = replace(mednist_table, methods=(method,))
    certified_accuracy(table, on_demo)
    (path,) = (on_demo.out / "prompts").glob("*.safetensors")
    again = replace(on_demo, out=on_demo.out.with_name("again"))
    epochs: list[int] = []

    class Kill(Exception):
        pass

    keep = learned._Progress.keep

    def killed(self: Any, state: Any) -> None:
        keep(self, state)
        epochs.append(state.epoch)
        if len(epochs) == 2:
            raise Kill

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned._Progress, "keep", killed)
        with pytest.raises(Kill):
            certified_accuracy(table, again)
        certified_accuracy(table, again)
    assert epochs == [1, 2, 2, 3]
    assert (again.out / "prompts" / path.name).read_bytes() == path.read_bytes()


def test_missing_data_set_is_a_cell_with_one_line_of_what_to_do(on_demo: Materials) -> None:
    table = tiny_table(replace(TABLE_2, backbones=("demo",)))
    cells = certified_accuracy(table, replace(on_demo, data=on_demo.out))
    assert {cell.needs for cell in cells} == {"data set kathercolon"}
    assert len(cells) == 8 * 7
    assert all(cell.value is None and cell.detail and "\n" not in cell.detail for cell in cells)


def test_missing_weights_are_a_cell_that_names_them(on_demo: Materials) -> None:
    cells = attacked_accuracy(tiny_attacks(ADVPT_TABLE_2, "pgd40"), on_demo)
    assert {cell.needs for cell in cells} == {
        f"weights of {backbone} and data set {dataset}"
        for backbone in ADVPT_TABLE_2.backbones
        for dataset in ADVPT_TABLE_2.datasets
    }
    assert {cell.condition for cell in cells} == {NOT_KNOWN, KNOWN}
    assert "certrad fetch clip-vit-b-16" in cells[0].detail


def test_weights_that_nobody_pinned_make_no_row(tmp_path: Path) -> None:
    write_hf_clip(tmp_path / "plip")
    with pytest.raises(Rejected, match="certrad fetch plip"):
        require_trained(shipped_backbones()["plip"], tmp_path / "plip")


def test_weights_that_were_never_trained_make_no_row(tmp_path: Path) -> None:
    write_hf_clip(tmp_path)
    weights = tmp_path / "model.safetensors"
    fresh = {
        name: torch.ones_like(tensor) if tensor.ndim == 1 and name.endswith(".weight") else tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(fresh, weights)
    pin(tmp_path, "model.safetensors")
    with pytest.raises(Rejected, match="never trained"):
        require_trained(shipped_backbones()["plip"], tmp_path)


def test_every_attack_is_reported_with_its_adaptive_version(on_demo: Materials) -> None:
    experiment = reduced(tiny_attacks(ADVPT_TABLE_2, "clean", "pgd40"))
    assert isinstance(experiment, AttackedAccuracy)
    experiment = tiny_attacks(replace(experiment, defences=("none", "rescale", "diffpure")), "clean", "pgd40")
    cells = attacked_accuracy(experiment, on_demo)
    run = [cell for cell in cells if cell.hits]
    assert {(cell.place.row, cell.place.column, cell.condition) for cell in run} == {
        (row, *column)
        for row in ("vanilla", "advpt", "rescale + vanilla", "rescale + advpt")
        for column in (("clean", ""), ("pgd40", NOT_KNOWN), ("pgd40", KNOWN))
    }
    assert all(len(cell.hits) == 3 for cell in run)
    missing = [cell for cell in cells if not cell.hits]
    assert {cell.place.row for cell in missing} == {"diffpure + vanilla", "diffpure + advpt"}
    known = next(cell for cell in run if cell.condition == KNOWN and cell.place.row == "rescale + advpt")
    assert "EOT" in known.detail
    assert "PGD-2" in write_report(experiment, cells, on_demo).markdown


def test_linear_probe_is_fitted_and_attacked(on_demo: Materials) -> None:
    experiment = reduced(ADVPT_TABLE_4)
    assert isinstance(experiment, AttackedAccuracy)
    cells = attacked_accuracy(replace(tiny_attacks(experiment, "clean", "pgd40"), training_images=24), on_demo)
    assert [(cell.place.row, cell.place.column, len(cell.hits)) for cell in cells] == [
        ("linear_probe", "clean", 3),
        ("linear_probe", "pgd40", 3),
        ("linear_probe", "pgd40", 3),
    ]


def test_denoiser_of_denoised_smoothing_is_trained_once(on_demo: Materials) -> None:
    card, train = shipped_backbones()["demo"], on_demo.split("mednist", "train")
    params = DenoiserParams(sigma=0.25, epochs=1, depth=2, channels=2)
    first = trained_denoiser(on_demo, card, "mednist", train, params)
    assert trained_denoiser(on_demo, card, "mednist", train, params) == first
    assert first.training["seconds"] > 0
    assert first.training["listing_sha256"] == listing_sha256(train)


def test_adapter_of_a_row_is_trained_once_and_goes_on_after_a_kill(
    on_demo: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, train = on_demo.backbone("demo"), on_demo.split("mednist", "train")
    params, trained = AdapterParams(steps=2, batch_size=2, rank=1), train_adapter
    whole = adapters.trained_adapter(on_demo, backbone, "mednist", train, params)
    begun: list[int] = []

    def killed(*arguments: Any, resume: AdapterState | None) -> Iterator[AdapterState]:
        begun.append(0 if resume is None else resume.step)
        for state in trained(*arguments, resume=resume, every=1):
            yield state
            if len(begun) == 1:
                raise KeyboardInterrupt

    again = replace(on_demo, out=on_demo.out.with_name("again"))
    monkeypatch.setattr("certrad.bench.reproduce.run.adapters.train_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        adapters.trained_adapter(again, backbone, "mednist", train, params)
    resumed = adapters.trained_adapter(again, backbone, "mednist", train, params)
    assert resumed.sha256 == whole.sha256
    assert adapters.trained_adapter(again, backbone, "mednist", train, params) == resumed
    assert begun == [0, 1]
    assert resumed.training["seconds"] > 0
    assert not list((again.out / "adapters").glob("*.part"))


def test_missing_training_images_of_another_data_set_are_named(on_demo: Materials) -> None:
    shift = replace(tiny_attacks(ADVPT_TABLE_2, "clean"), backbones=("demo",), datasets=("mednist",))
    cells = attacked_accuracy(replace(shift, trained_on="imagenet", defences=("none",)), on_demo)
    assert {cell.needs for cell in cells} == {"data set imagenet"}


def test_missing_weights_of_a_defence_are_named(on_demo: Materials) -> None:
    attacks = replace(tiny_attacks(ADVPT_TABLE_2, "clean"), backbones=("demo",), datasets=("mednist",))
    cells = attacked_accuracy(replace(attacks, defences=("diffpure",)), on_demo)
    assert {cell.needs for cell in cells} == {"weights of diffusion"}


def test_values_of_other_images_under_the_same_name_are_not_taken(
    on_demo: Materials, mednist_table: CertifiedAccuracy
) -> None:
    table = replace(mednist_table, methods=(TEMPLATE,))
    certified_accuracy(table, on_demo)
    write_mednist_zip(on_demo.data, 5)
    certified_accuracy(table, on_demo)
    (journal,) = (on_demo.out / table.id).glob("*.jsonl")
    assert len(journal.read_text().splitlines()) == 1 + 2 * 3


def test_images_held_out_from_a_probe_are_of_every_class(on_demo: Materials) -> None:
    train = on_demo.split("mednist", "train")
    chosen = [index for index in range(len(train)) if train.label(index) < 5]
    in_turn = sorted(chosen, key=lambda index: chosen.index(index) % (len(chosen) // 5))
    held_out, fitted = every_fifth(in_turn * 2, train)
    assert {train.label(index) for index in held_out} == set(range(5))
    assert len(held_out) + len(fitted) == 2 * len(chosen)


def test_times_hold_training_and_certificate(on_demo: Materials) -> None:
    experiment = reduced(TABLE_5)
    assert experiment.id == "promptsmooth-table5-quick"
    timed = replace(TABLE_5, backbones=("demo",), datasets=("mednist",), images=2, n0=10, n=20)
    timed = replace(timed, methods=(tiny_method(TABLE_5.methods[2]), replace(TEMPLATE)))
    found = {(cell.place.row, cell.place.column): cell.value for cell in certification_time(timed, on_demo)}
    assert set(found) == {
        ("promptsmooth", TRAINING),
        ("promptsmooth", CERTIFICATE),
        ("zero_shot_no_pl", CERTIFICATE),
    }
    assert all(value and value > 0 for value in found.values())


def test_nearest_words_stand_beside_those_of_random_vectors(on_demo: Materials) -> None:
    words = replace(ADVPT_TABLE_5, backbones=("demo",), datasets=("mednist",), tuning=tiny(ADVPT_TABLE_5.tuning))
    cells = nearest_words(words, on_demo)
    learned, random = ([cell for cell in cells if cell.condition == condition] for condition in ("", RANDOM))
    assert [cell.place.row for cell in learned] == [cell.place.row for cell in random] == list("12345")
    distances = [cell.value for cell in learned]
    assert distances == sorted(distances, key=lambda value: value or 0)
    assert all(cell.detail for cell in cells)


def test_efficiency_measures_prompts_and_encoders_against_seconds(on_demo: Materials) -> None:
    efficiency = replace(
        EFFICIENCY,
        backbones=("demo",),
        datasets=("mednist",),
        images=3,
        steps=2,
        tuning=tiny(EFFICIENCY.tuning),
        prompt_epochs=(1,),
        encoder_epochs=(1,),
        training_images=4,
        batch_size=4,
    )
    cells = training_efficiency(efficiency, on_demo)
    assert {cell.place.row for cell in cells} == {
        "vanilla",
        "advpt, 1 epochs",
        "adversarial training, 1 epochs",
        "Fast AT, 1 epochs",
    }
    assert {len(cell.hits) for cell in cells} == {0, 3}
    assert write_report(efficiency, cells, on_demo).csv.count("\n") == 1 + 4 * 4


def test_other_processes_give_the_values_in_the_order_of_the_units(tmp_path: Path) -> None:
    tenfold = Workforce(partial(partial, mul, 10), 2)  # sent by name: such a process loads little
    assert tenfold.compute([(("a",), 1), (("b",), 2), (("c",), 3)], Kept(tmp_path, {}), "t") == [10, 20, 30]


def test_kept_values_serve_their_own_settings_only(tmp_path: Path) -> None:
    Kept(tmp_path, {"n": 10}).keep(("a", 1), {"x": 2})
    assert Kept(tmp_path, {"n": 10})["a", 1] == {"x": 2}
    assert ("a", 1) not in Kept(tmp_path, {"n": 11})


def test_workforce_gives_values_in_the_order_of_the_units(tmp_path: Path) -> None:
    kept = Kept(tmp_path, {})
    kept.keep(("b",), 20)
    found = Workforce(lambda: lambda unit: unit * 10, 1).compute([(("a",), 1), (("b",), 2), (("c",), 3)], kept, "t")
    assert found == [10, 20, 30]


def arguments(*options: str) -> Any:
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(options)


def test_list_names_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    command.run(arguments("--list"))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(PLAN)
    assert printed[0].startswith("promptsmooth-table2 ")


def test_unknown_experiment_ends_with_what_is_known() -> None:
    with pytest.raises(SystemExit, match="see --list"):
        command.chosen(arguments("promptsmooth-table9"))


def test_rows_and_seed_of_the_command_reach_the_experiment() -> None:
    chosen = arguments("promptsmooth-table2", "--rows", "promptsmooth", "--seed", "7")
    (experiment,) = (command.with_options(experiment, chosen) for experiment in command.chosen(chosen))
    assert isinstance(experiment, CertifiedAccuracy)
    assert [method.name for method in experiment.methods] == ["promptsmooth"]
    assert experiment.seed == 7


def test_unknown_row_ends_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match="no row 'coop'; there is zero_shot_no_pl"):
        command.run(arguments("promptsmooth-table2", "--rows", "coop"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
