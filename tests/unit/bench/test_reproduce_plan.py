"""`python -m certrad.bench reproduce` plans every table of the papers, and says where an order differs from print."""

from collections.abc import Sequence

import pytest

from certrad.bench.reproduce.plan.experiment import (
    AnyExperiment,
    AttackedAccuracy,
    CertificationTime,
    CertifiedAccuracy,
    NearestWords,
    TrainingEfficiency,
)
from certrad.bench.reproduce.plan.plan import ADAPTED, PLAN, TABLE_2, as_in_advpt, images_in_advpt
from certrad.bench.reproduce.plan.published_values import (
    PUBLISHED,
    Printed,
    column_of_radius,
    published_values,
    row_behind,
)
from certrad.bench.reproduce.plan.quick import BACKBONE, DATASET, reduced
from certrad.bench.reproduce.report.orders import orders, paired_p, summary
from certrad.bench.reproduce.run.certified import CERTIFICATE, TRAINING, best_sigma
from certrad.bench.reproduce.run.measured import Measured
from certrad.bench.reproduce.run.result import BEST_SIGMA, KNOWN, NOT_KNOWN, Cell, Place, share_cell
from certrad.bench.reproduce.run.words import DISTANCE
from certrad.models.shipped import shipped_backbones, shipped_datasets
from certrad.models.types.tuning import TuningParams

BY_ID = {experiment.id: experiment for experiment in PLAN}

GOLDEN = [
    ("promptsmooth-table2", Place("plip", "kathercolon", "promptsmooth", "R ≥ 0.5"), 74.8, "clean 76.6"),
    ("promptsmooth-table2", Place("plip", "kathercolon", "zero_shot_no_pl", "R ≥ 1.5"), 11.0, "clean 11"),
    ("promptsmooth-table3", Place("medclip-vit", "rsna", "denoised_smoothing", "R ≥ 0.75"), 1.79, "clean 31.6"),
    ("promptsmooth-table3", Place("medclip-vit", "covid", "promptsmooth", "R ≥ 0.1"), 69.0, "clean 69.4"),
    ("promptsmooth-table4", Place("plip", "kathercolon", "An H&E noisy image patch of", "certified"), 40, ""),
    ("promptsmooth-table5", Place("plip", "kathercolon", "denoised_smoothing", "training"), 31620, ""),
    ("promptsmooth-table5", Place("plip", "kathercolon", "promptsmooth", "certificate"), 1.9, ""),
    ("advpt-table1", Place("clip-vit-b-16", "pets", "advpt", "pgd40"), 41.9, ""),
    ("advpt-table1", Place("clip-vit-l-14", "flowers", "vanilla", "rap"), 70.6, ""),
    ("advpt-table2", Place("clip-vit-l-14", "imagenet", "diffpure + advpt", "pgd40"), 69.7, ""),
    ("advpt-table2", Place("clip-vit-b-16", "sun397", "super_resolution + advpt", "pgd40"), 69.9, ""),
    ("advpt-table3", Place("clip-vit-b-16", "dtd", "advpt", "autoattack"), 28.9, ""),
    ("advpt-table4", Place("clip-vit-l-14", "eurosat", "linear_probe", "pgd40"), 21.2, ""),
    ("advpt-table5", Place("clip-vit-b-16", "ucf101", "5", "distance"), 1.2966, "cumbri"),
    ("advpt-domain-shift", Place("clip-vit-l-14", "imagenet-r", "advpt", "pgd40"), 43.5, ""),
]


def expected_places(experiment: AnyExperiment) -> set[tuple[str, str]]:
    """Rows and columns that an experiment measures."""
    match experiment:
        case CertifiedAccuracy():
            rows, columns = [m.name for m in experiment.methods], [column_of_radius(r) for r in experiment.radii]
        case CertificationTime():
            rows, columns = [m.name for m in experiment.methods], [TRAINING, CERTIFICATE]
        case AttackedAccuracy():
            rows = [row_behind(defence, m.name) for defence in experiment.defences for m in experiment.methods]
            columns = list(experiment.threats)
        case NearestWords():
            rows, columns = [str(rank) for rank in range(1, experiment.words + 1)], [DISTANCE]
        case TrainingEfficiency():
            rows, columns = [], []
    return {(row, column) for row in rows for column in columns}


def cell(row: str, hits: Sequence[int], *, column: str = "R ≥ 0.5", condition: str = BEST_SIGMA) -> Cell:
    place = Place("plip", "kathercolon", row, column)
    return share_cell(place, [bool(hit) for hit in hits], condition=condition, digest="")


def test_plan_has_every_table_and_figure_of_both_papers() -> None:
    assert {(experiment.paper, experiment.source) for experiment in PLAN} == {
        *(("promptsmooth", f"Table {number}") for number in (2, 3, 4, 5)),
        *(("promptsmooth", f"Fig. 2, {ablation}") for ablation in ("shots", "context tokens", "steps")),
        ("promptsmooth", "appendix"),
        *(("advpt", f"Table {number}") for number in (1, 2, 3, 4, 5)),
        ("advpt", "generalisation against robustness"),
        ("advpt", "Fig. 6"),
        ("advpt", "number of vectors"),
        ("advpt", "Fig. 4 and 5"),
    }
    assert len(BY_ID) == len(PLAN)


def test_every_id_of_the_plan_is_a_shipped_card() -> None:
    assert {backbone for experiment in PLAN for backbone in experiment.backbones} <= set(shipped_backbones())
    assert {dataset for experiment in PLAN for dataset in experiment.datasets} <= set(shipped_datasets())


def test_every_file_of_printed_values_belongs_to_an_experiment() -> None:
    used = {experiment.published for experiment in PLAN if experiment.published}
    assert used == {path.name for path in PUBLISHED.glob("*.csv")}


@pytest.mark.parametrize("experiment", [e for e in PLAN if e.published], ids=lambda experiment: experiment.id)
def test_every_printed_value_has_its_cell_and_no_cell_lacks_one(experiment: AnyExperiment) -> None:
    printed = set(published_values(experiment))
    measured = {
        Place(backbone, dataset, *place)
        for backbone in experiment.backbones
        for dataset in experiment.datasets
        for place in expected_places(experiment)
    }
    without_training = Place("plip", "kathercolon", "diffusion_smoothing", TRAINING)
    not_of_the_papers = {place for place in measured if place.row == ADAPTED.name}
    assert printed == measured - {without_training} - not_of_the_papers


@pytest.mark.parametrize(("name", "place", "value", "detail"), GOLDEN)
def test_printed_values_are_those_of_the_papers(name: str, place: Place, value: float, detail: str) -> None:
    assert published_values(BY_ID[name])[place] == Printed(value=value, detail=detail)


def test_reduced_experiment_names_the_contexts_that_replace_the_papers() -> None:
    title = reduced(BY_ID["promptsmooth-table4"]).title
    assert title.endswith("; contexts 'a medical image of {}.', 'a noisy medical image of {}.'")


def test_reduced_experiments_run_on_mednist_with_the_demonstration_model() -> None:
    for experiment in map(reduced, PLAN):
        assert (experiment.backbones, experiment.datasets) == ((BACKBONE,), (DATASET,))
        if isinstance(experiment, CertifiedAccuracy):
            assert experiment.sigmas
            assert all(method.denoiser is None for method in experiment.methods)


def test_advpt_has_own_hyper_parameters_for_large_vit_and_imagenet() -> None:
    published = TuningParams.published("advpt")
    assert as_in_advpt(published, "clip-vit-b-16", "pets") == published
    large = as_in_advpt(published, "clip-vit-l-14", "imagenet")
    assert (large.lr, large.epochs, large.batch_size) == (0.002, 5, 512)


def test_advpt_takes_one_test_image_of_each_class_of_imagenet() -> None:
    assert images_in_advpt(None, "imagenet") == 1000
    assert images_in_advpt(None, "pets") is None
    assert images_in_advpt(120, "imagenet") == 120


def test_each_radius_takes_the_sigma_that_is_best_on_the_images() -> None:
    small = Measured(sigma=0.25, clean=(True,) * 3, noisy=(1.0,) * 3, radii=(0.6, 0.6, 0.4), digest="")
    large = Measured(sigma=1.0, clean=(True,) * 3, noisy=(1.0,) * 3, radii=(1.5, 1.2, None), digest="")
    assert best_sigma([small, large], 0.25).sigma == 0.25
    assert best_sigma([small, large], 1.0).sigma == 1.0


def test_certificates_of_another_class_count_nowhere() -> None:
    measured = Measured(sigma=0.5, clean=(True, True), noisy=(1.0, 0.0), radii=(0.5, None), digest="")
    assert measured.hits(0) == (True, False)
    assert measured.hits(0.5) == (True, False)
    assert measured.hits(0.51) == (False, False)


def test_order_beyond_the_error_is_said_to_differ() -> None:
    worse, better = [0] * 12 + [1] * 8, [1] * 20
    (order,) = orders([cell("promptsmooth", worse), cell("coop_naive_pl", better)], published_values(TABLE_2))
    assert (order.above, order.below, order.verdict) == ("promptsmooth", "coop_naive_pl", "reversed")
    assert "PromptSmooth (combined) above CoOp; here, beyond the error, R ≥ 0.5, best σ 40.0 against 100.0" in summary(
        [order]
    )


def test_order_that_few_images_turn_is_within_the_error() -> None:
    (order,) = orders(
        [cell("promptsmooth", [1, 0, 1, 1]), cell("coop_naive_pl", [1, 1, 1, 1])], published_values(TABLE_2)
    )
    assert order.verdict == "within the error"
    assert "here, within the error" in summary([order])


def test_order_as_printed_has_no_remark() -> None:
    (order,) = orders([cell("promptsmooth", [1] * 20), cell("coop_naive_pl", [0] * 20)], published_values(TABLE_2))
    assert order.verdict == "as printed"
    assert summary([order]).count("\n") == 2


def test_paired_p_is_the_exact_test_of_the_images_that_tell_two_rows_apart() -> None:
    assert paired_p([True] * 5 + [True] * 50, [False] * 5 + [True] * 50) == pytest.approx(2 / 2**5)
    assert paired_p([True, False], [True, False]) == 1


def test_row_of_fewer_images_is_compared_on_those() -> None:
    short, long = [1] * 8, [0] * 8 + [1] * 100
    (order,) = orders([cell("promptsmooth", short), cell("coop_naive_pl", long)], published_values(TABLE_2))
    assert order.values == (100.0, 0.0)


def test_pair_without_printed_values_takes_the_order_of_the_papers_mean() -> None:
    printed = {
        Place("plip", dataset, row, "R ≥ 0.25"): Printed(value=value)
        for dataset, row, value in (("a", "few", 50), ("a", "naive", 51), ("b", "few", 40), ("b", "naive", 30))
    }
    printed[Place("plip", "c", "naive", "R ≥ 0.25")] = Printed(value=99)  # tells nothing: the other is not printed
    place = Place("demo", "mednist", "few", "R ≥ 0.25")
    rows = [
        share_cell(place._replace(row=row), hits, condition=BEST_SIGMA, digest="")
        for row, hits in (("few", [True] * 9), ("naive", [False] * 9))
    ]
    (order,) = orders(rows, printed)
    assert (order.above, order.verdict) == ("few", "as printed")


def test_rows_are_compared_within_one_condition() -> None:
    cells = [
        cell("advpt", [1] * 9, column="pgd40", condition=NOT_KNOWN),
        cell("vanilla", [0] * 9, column="pgd40", condition=KNOWN),
    ]
    assert orders(cells, published_values(BY_ID["advpt-table1"])) == []
