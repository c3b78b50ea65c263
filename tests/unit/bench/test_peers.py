"""`python -m certrad.bench peers`: the same images through every system, and what is told of them."""

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from certrad.bench.common import published_certify
from certrad.bench.common.options import threads_of_torch
from certrad.bench.common.peer_report import NOT_RUN, as_markdown, steps_to_target, summarise, write_plot
from certrad.bench.common.peer_study import (
    TEMPLATE,
    Answer,
    ClassifierChoice,
    Image,
    Round,
    Settings,
    Stopwatch,
    System,
    drawn_images,
    measure,
)
from certrad.bench.common.peer_systems import (
    ART,
    FIXED,
    FIXED_COHEN,
    PUBLISHED,
    SMALLEST,
    TARGET,
    FixedN,
    PublishedCertify,
    SmallestN,
    TargetRadius,
    key_of,
    smallest_n,
)
from certrad.bench.measure import peers
from certrad.models.smoothing import certify
from certrad.models.types import Certificate, SmoothingParams
from certrad.models.types.smoothing import Bound
from tests.support.threshold_classifier import ThresholdClassifier

PARAMS = SmoothingParams(sigma=0.25, n0=20, n=500)
CLASSIFIER = ThresholdClassifier(cuts=(122, 128, 134))
CHOICE = ClassifierChoice(
    backbone="demo", backbones="backbones", prompt=TEMPLATE, prompts="prompts", dtype="float32", sigma=0.25
)
SETTINGS = Settings(
    classifier=CHOICE,
    backbone_sha256="0" * 64,
    params=PARAMS,
    target_radius=0.25,
    batch_size=8,
    threads=1,
    data_sha256=None,
    art=None,
    seed=0,
)


def published(logits: Callable[[Tensor], Tensor], params: SmoothingParams = PARAMS) -> tuple[int | None, float]:
    return published_certify.certify(logits, torch.zeros((3, 1, 1)), params, n_classes=3, batch_size=8)


def always(label: int) -> Callable[[Tensor], Tensor]:
    return lambda pixels: torch.eye(3)[label].repeat(len(pixels), 1)


def answer(radius: float, seconds: float, class_index: int | None = 0) -> Answer:
    return Answer(class_index=class_index, radius=radius, samples=100, seconds=seconds, processor_seconds=seconds**2)


def image(x: float = 0.05) -> NDArray[np.float32]:
    return CLASSIFIER.image(x).astype(np.float32)


@dataclass
class Counting:
    """A system that counts the images it certifies, and says which system came before it."""

    name: str
    order: list[str] = field(default_factory=list)

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        self.order.append(self.name)
        return {self.name: answer(0.1, 1.0)}


def test_published_loop_certifies_the_radius_of_clopper_pearson_where_all_samples_agree() -> None:
    radius = 0.25 * stats.norm.ppf(PARAMS.alpha ** (1 / PARAMS.n))
    class_index, found = published(always(2))
    assert class_index == 2
    assert found == pytest.approx(radius, rel=1e-12)


def test_published_loop_counts_every_sample_once_where_n_is_no_multiple_of_the_batch() -> None:
    seen = 0

    def logits(pixels: Tensor) -> Tensor:
        nonlocal seen
        seen += len(pixels)
        return always(0)(pixels)

    published(logits)
    assert seen == PARAMS.n0 + PARAMS.n


def test_published_loop_chooses_the_class_by_the_selection_samples_alone() -> None:
    seen = 0

    def first_one_then_zero(pixels: Tensor) -> Tensor:
        nonlocal seen
        label = int(seen < PARAMS.n0)
        seen += len(pixels)
        return always(label)(pixels)

    assert published(first_one_then_zero, replace(PARAMS, n0=24)) == (None, 0.0)


def test_published_loop_draws_noise_of_the_wanted_standard_deviation() -> None:
    drawn: list[Tensor] = []

    def logits(pixels: Tensor) -> Tensor:
        drawn.append(pixels)
        return always(0)(pixels)

    torch.manual_seed(0)
    published(logits)
    assert float(torch.cat(drawn).std()) == pytest.approx(PARAMS.sigma, rel=0.05)


def test_published_loop_stays_within_the_true_radius_of_a_classifier_that_is_known() -> None:
    torch.manual_seed(0)
    class_index, radius = published_certify.certify(
        CLASSIFIER.logits, torch.from_numpy(image()), PARAMS, n_classes=CLASSIFIER.n_classes, batch_size=64
    )
    assert class_index == 0
    assert 0.3 < radius < CLASSIFIER.true_radius(0.05, 0)


def test_fixed_n_tells_both_bounds_of_one_set_of_samples() -> None:
    found = FixedN(classifier=CLASSIFIER, batch_size=64).certify(image(), PARAMS, seed=3)
    two_class, cohen = found[FIXED], found[FIXED_COHEN]
    assert two_class.seconds == cohen.seconds
    assert (two_class.samples, cohen.samples) == (520, 520)
    assert two_class.class_index == cohen.class_index == 0
    assert two_class.radius != cohen.radius


@pytest.mark.parametrize(("name", "bound"), [(FIXED, "two_class"), (FIXED_COHEN, "cohen")])
def test_fixed_n_answers_as_certify_does_with_that_bound(name: str, bound: Bound) -> None:
    found = FixedN(classifier=CLASSIFIER, batch_size=64).certify(image(), PARAMS, seed=3)[name]
    real = certify(image(), CLASSIFIER, replace(PARAMS, bound=bound), key=key_of(3), batch_size=64).outcome
    assert isinstance(real, Certificate)
    assert found.radius == real.radius


def test_target_radius_stops_at_the_samples_that_show_it() -> None:
    system = TargetRadius(classifier=CLASSIFIER, batch_size=8, target_radius=0.1)
    found = system.certify(image(), PARAMS, seed=3)[TARGET]
    assert found.samples < PARAMS.n0 + PARAMS.n
    assert found.radius >= 0.1


def test_an_abstention_has_no_radius() -> None:
    with pytest.raises(ValueError, match="radius 0"):
        answer(0.1, 1.0, class_index=None)


def test_systems_take_turns_at_being_first() -> None:
    order: list[str] = []
    systems: list[System] = [Counting(name, order) for name in ("a", "b", "c")]
    for place in range(3):
        measure(systems, Image(index=0, pixels=image(), label=0), PARAMS, 0, first=place)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]


def test_a_round_survives_the_journal() -> None:
    kept = Round(index=3, label=1, answers={PUBLISHED: answer(0.1, 1.5), TARGET: answer(0.0, 0.5, None)})
    assert Round.from_json(kept.to_json()) == kept


def test_a_run_that_was_stopped_certifies_only_the_images_that_are_missing(tmp_path: Path) -> None:
    system = Counting("a")
    images = [Image(index=index, pixels=image(), label=0) for index in range(3)]
    peers.measured([system], images[:2], SETTINGS, tmp_path / "journal")
    before = len(system.order)
    rounds = peers.measured([system], images, SETTINGS, tmp_path / "journal")
    assert len(system.order) - before == 2  # the warm-up and the third image
    assert [one.index for one in rounds] == [0, 1, 2]


def test_a_journal_of_a_run_without_art_is_not_continued_with_it(tmp_path: Path) -> None:
    images = [Image(index=0, pixels=image(), label=0)]
    peers.measured([Counting("a")], images, SETTINGS, tmp_path / "journal")
    with pytest.raises(ValueError, match="other settings"):
        peers.measured([Counting("a")], images, replace(SETTINGS, art="1.20.1"), tmp_path / "journal")


ROUNDS = [
    Round(index=0, label=0, answers={PUBLISHED: answer(0.4, 2.0), FIXED: answer(0.3, 1.0), TARGET: answer(0.25, 0.1)}),
    Round(
        index=1,
        label=1,
        answers={PUBLISHED: answer(0.4, 4.0), FIXED: answer(0.3, 1.0, 1), TARGET: answer(0, 0.1, None)},
    ),
    Round(
        index=2,
        label=1,
        answers={PUBLISHED: answer(0.2, 4.0, 1), FIXED: answer(0.2, 2.0, 1), TARGET: answer(0.3, 0.4, 1)},
    ),
]


def test_a_radius_of_another_class_than_the_true_one_counts_as_none() -> None:
    row = summarise(ROUNDS, 0.25)[0]
    assert row.system == PUBLISHED
    assert row.mean_radius == pytest.approx((0.4 + 0.2) / 3)
    assert row.radius_per_second == pytest.approx(0.6 / 10)
    assert (row.certified, row.certified_at_target, row.abstained) == (2 / 3, 1 / 3, 0)


def test_times_are_compared_on_the_same_image() -> None:
    rows = {row.system: row for row in summarise(ROUNDS, 0.25)}
    assert rows[PUBLISHED].time_ratio == 1
    assert rows[FIXED].time_ratio == 0.5  # of 1/2, 1/4 and 2/4
    assert rows[FIXED].processor_ratio == 0.25


def test_radius_per_processor_second_is_told_against_that_of_the_published_loop() -> None:
    row = {row.system: row for row in summarise(ROUNDS, 0.25)}[FIXED]
    assert row.radius_per_second == pytest.approx(0.8 / 4)
    assert row.radius_per_processor_second_ratio == pytest.approx((0.8 / 6) / (0.6 / 36))


def test_radius_per_second_has_no_ratio_where_the_published_loop_certifies_nothing() -> None:
    rounds = [Round(index=0, label=0, answers={PUBLISHED: answer(0, 1.0, None), FIXED: answer(0.3, 1.0)})]
    assert math.isnan(summarise(rounds, 0.25)[1].radius_per_processor_second_ratio)


def test_the_table_says_which_system_did_not_run() -> None:
    lines = as_markdown(summarise(ROUNDS, 0.25), 0.25).splitlines()
    assert any(line.startswith(f"| {ART} | {NOT_RUN}") for line in lines)
    assert {line.count("|") for line in lines if line.startswith("|")} == {12}


def test_accuracy_against_seconds_counts_only_certificates_at_the_target() -> None:
    assert steps_to_target(TARGET, ROUNDS, 0.25) == [(0.0, 0.0), (0.1**2, 1 / 3), (0.4**2, 2 / 3)]
    assert steps_to_target(PUBLISHED, ROUNDS, 0.25) == [(0.0, 0.0), (4.0, 1 / 3)]


def test_the_plot_names_every_system_and_is_the_same_file_for_the_same_answers(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_plot(tmp_path / name, ROUNDS, 0.25)
    drawn = (tmp_path / "a.svg").read_text("utf-8")
    assert TARGET in drawn
    assert drawn == (tmp_path / "b.svg").read_text("utf-8")


def test_drawn_images_differ_and_are_pixels() -> None:
    first, second = drawn_images(2, seed=0)
    assert first.pixels.shape == (3, 64, 64)
    assert 0 <= first.pixels.min() < first.pixels.max() <= 1
    assert not np.array_equal(first.pixels, second.pixels)


def test_the_command_certifies_a_drawn_image_with_every_system_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    peers.add_arguments(parser)
    options = ["--images", "1", "--n0", "10", "--n", "64", "--sigma", "0.02", "--environment", str(tmp_path / "none")]
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    peers.run(parser.parse_args([*options, "--out", str(tmp_path / "out.json"), "--plot", str(tmp_path / "p.png")]))
    table = capsys.readouterr().out
    for name in (PUBLISHED, SMALLEST, FIXED, FIXED_COHEN, TARGET):
        assert f"| {name} | " in table
    assert NOT_RUN in table
    assert (tmp_path / "p.png").stat().st_size > 0
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (threads, cores)


def test_torch_has_its_threads_back_after_a_measurement() -> None:
    before = torch.get_num_threads()
    with threads_of_torch(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_processor_seconds_leave_out_what_a_process_waits() -> None:
    watch = Stopwatch()
    time.sleep(0.2)
    seconds, processor_seconds = watch.read()
    assert seconds >= 0.2
    assert processor_seconds < 0.1


@pytest.mark.parametrize(("radius", "alpha"), [(1.0, 0.001), (0.5, 0.001), (2.0, 0.01)])
def test_the_smallest_n_shows_the_radius_and_one_less_does_not(radius: float, alpha: float) -> None:
    n = smallest_n(radius, alpha)
    of_n, of_one_less = (stats.norm.ppf(alpha ** (1 / samples)) for samples in (n, n - 1))
    assert of_one_less < radius <= of_n


def test_the_loop_with_the_smallest_n_reaches_the_target_where_all_samples_agree() -> None:
    loop = PublishedCertify(classifier=CLASSIFIER, batch_size=64)
    found = SmallestN(loop=loop, target_radius=0.02).certify(image(), replace(PARAMS, sigma=0.02), seed=0)[SMALLEST]
    assert found.samples == PARAMS.n0 + 40
    assert 0.02 <= found.radius < 0.0202


def test_published_system_smooths_the_classifier_it_is_given() -> None:
    found = PublishedCertify(classifier=CLASSIFIER, batch_size=64).certify(image(), PARAMS, seed=0)[PUBLISHED]
    assert found.class_index == 0
    assert found.samples == PARAMS.n0 + PARAMS.n
