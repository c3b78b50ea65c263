"""`python -m certrad.bench certified-accuracy` goes on where its journal ended, and counts each image once."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certrad.bench.common.accuracy_report import as_markdown, summarise
from certrad.bench.common.journal import Journal
from certrad.bench.common.mednist import LabelledImages, equal_sample
from certrad.bench.common.noisy_images import Job, MethodCounts, Record, Study, StudySettings, as_input
from certrad.bench.measure.certified_accuracy import jobs
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.smoothing import certify
from certrad.models.types import SmoothingParams, ZeroShotAdaptation

SETTINGS = StudySettings(
    dtype="float32",
    backbone="demo",
    backbone_sha256="0" * 64,
    class_names=("a", "b"),
    template="an image of {}.",
    checkpoints={},
    adaptation=ZeroShotAdaptation(samples=10),
    n0=10,
    n=100,
    check_n=1000,
    batch_size=50,
    data_sha256="1" * 64,
    seed=0,
)


def record(index: int, label: int, correct: int, *, check: bool = False) -> Record:
    """A two-class image of which `correct` of 100 noisy copies, and ten times as many in the check, are right."""
    of_n, of_check = [correct, 100 - correct, 0], [10 * correct, 1000 - 10 * correct, 0]
    if label == 1:
        of_n[:2], of_check[:2] = of_n[1::-1], of_check[1::-1]
    selection = (10, 0, 0) if (label == 0) == (correct > 50) else (0, 10, 0)
    counts = MethodCounts(
        clean=label, selection=selection, estimation=tuple(of_n), check=tuple(of_check) if check else None
    )
    return Record(index=index, label=label, sigma=0.5, methods={"template": counts})


def job(index: int, *, check: bool = False) -> Job:
    return Job(index=index, pixels=np.zeros((2, 2), dtype=np.uint8), label=0, sigma=0.5, check=check)


def test_equal_sample_takes_as_many_images_of_each_class_in_turn() -> None:
    labels = np.repeat(np.arange(3), 10)
    chosen = equal_sample(labels, 3, 8, seed=1)
    assert labels[chosen].tolist() == [0, 1, 2] * 3
    assert len(set(chosen)) == 9


def test_larger_balanced_sample_begins_with_the_smaller_one() -> None:
    labels = np.repeat(np.arange(3), 10)
    assert equal_sample(labels, 3, 30, seed=1)[:6] == equal_sample(labels, 3, 6, seed=1)


def test_equal_sample_refuses_a_class_with_too_few_images() -> None:
    with pytest.raises(ValueError, match="3 images of each class are required"):
        equal_sample(np.array([0, 0, 0, 1, 1]), 2, 6, seed=0)


def test_only_the_first_images_at_the_check_sigmas_carry_the_check() -> None:
    images = LabelledImages(np.zeros((4, 2, 2), dtype=np.uint8), np.array([0, 0, 1, 1]))
    wanted = Namespace(images=4, seed=0, sigmas=[0.25, 0.5], check_images=2, check_sigmas=[0.5])
    checked = [(place // 2, j.sigma) for place, j in enumerate(jobs(images, 2, wanted)) if j.check]
    assert checked == [(0, 0.5), (1, 0.5)]


def test_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, SETTINGS).append(record(3, 1, 90))
    again = Journal(path, SETTINGS)
    assert again.records == [record(3, 1, 90)]
    assert [j.index for j in again.missing([job(3), job(4)])] == [4]


def test_journal_drops_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, SETTINGS).append(record(3, 1, 90))
    whole = path.read_text()
    path.write_text(whole + record(4, 0, 90).to_json()[:40])
    assert Journal(path, SETTINGS).records == [record(3, 1, 90)]
    assert path.read_text() == whole


def test_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "journal", SETTINGS).append(record(0, 0, 90))
    with pytest.raises(ValueError, match="other settings"):
        Journal(tmp_path / "journal", replace(SETTINGS, n0=20))


def test_record_without_the_check_does_not_serve_a_job_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", SETTINGS)
    journal.append(record(0, 0, 90))
    assert len(journal.missing([job(0, check=True)])) == 1
    journal.append(record(0, 0, 90, check=True))
    assert journal.missing([job(0, check=True), job(0)]) == []
    assert journal.of([job(0)]) == [record(0, 0, 90, check=True)]


def test_summary_counts_correct_certified_images_at_each_radius() -> None:
    # p_A >= 0.9 of 100 is certified beyond 0.25 at sigma 0.5; 55 of 100 abstains; 10 of 100 is certified, but wrong.
    records = [record(0, 0, 99), record(1, 1, 97), record(2, 0, 55), record(3, 1, 10)]
    (result,) = summarise(records, [SmoothingParams(sigma=0.5, n0=10, n=100)])
    assert result.images == 4
    assert result.abstained.value == 0.25
    assert result.certified_accuracy["0"].value == 0.5
    assert result.certified_accuracy["0.5"].value == 0.5
    assert result.certified_accuracy["1"].value == 0
    assert result.noisy_sample_accuracy == pytest.approx((99 + 97 + 55 + 10) / 400)
    assert result.certified_accuracy["0"].low < 0.5 < result.certified_accuracy["0"].high
    assert "| 0.5 | template | input_independent | 100.0 | 65.2 | 25.0 | 50.0 |" in as_markdown([result])


def test_summary_of_the_check_uses_its_images_and_samples_only() -> None:
    records = [record(0, 0, 90), record(1, 1, 55, check=True)]
    (result,) = summarise(records, [SmoothingParams(sigma=0.5, n0=10, n=1000)], check=True)
    assert (result.images, result.n) == (1, 1000)
    assert result.noisy_sample_accuracy == pytest.approx(0.55)


def test_shared_pass_gives_the_counts_of_certify(tmp_path: Path) -> None:
    task = shipped_tasks()["mednist"]
    card = shipped_backbones()["demo"]
    backbone = load_backbone(card, weights_directory(card, tmp_path))
    settings = replace(
        SETTINGS,
        backbone_sha256=backbone.sha256,
        class_names=task.class_names,
        template=task.template,
        n0=50,
        check_n=200,
    )
    study = Study(settings, tmp_path, tmp_path)
    rows, columns = np.mgrid[:64, :64]
    pixels = (200 * ((rows - 32) ** 2 + (columns - 32) ** 2 < 400)).astype(np.uint8)
    checked = Job(index=0, pixels=pixels, label=0, sigma=1.0, check=True)
    counts = study.measure(checked).methods["template"]
    classifier = VisionLanguageClassifier(backbone, template_features(backbone, task.class_names, task.template))
    for n, measured in ((settings.n, counts.estimation), (settings.check_n, counts.check)):
        params = SmoothingParams(sigma=1.0, n0=settings.n0, n=n)
        expected = certify(as_input(pixels), classifier, params, key=study.noise_key(checked), batch_size=50)
        assert measured == (*expected.estimation.counts.per_class, expected.estimation.counts.invalid)
        assert np.count_nonzero(counts.selection) > 1  # else the counts of any other noise would agree
        assert counts.selection == (*expected.selection.per_class, expected.selection.invalid)
