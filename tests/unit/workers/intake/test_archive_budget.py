"""The work that an archive may cost is bounded for all its images together."""

from pathlib import Path

import pytest

from certrad.models.errors import Rejected
from certrad.workers.intake.archive_budget import ArchiveBudget
from certrad.workers.settings import WorkerSettings

IMAGE = 1_000_000
ALL = 20 * IMAGE


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(data_dir=tmp_path, max_pixels=IMAGE, max_archive_pixels=ALL, intake_cpu_seconds=600)


@pytest.mark.parametrize(("archive_bytes", "pixels"), [(0, IMAGE), (1_000, IMAGE + 128_000), (1_000_000, ALL)])
def test_pixels_are_in_proportion_to_the_archive_up_to_a_limit(
    settings: WorkerSettings, archive_bytes: int, pixels: int
) -> None:
    budget = ArchiveBudget(archive_bytes=archive_bytes, images=2, settings=settings)
    budget.spend_pixels(pixels)
    with pytest.raises(Rejected) as refused:
        budget.spend_pixels(1)
    assert refused.value.code == "archive_too_large"


def test_processor_seconds_are_those_of_the_whole_archive(settings: WorkerSettings) -> None:
    used = [100.0]
    budget = ArchiveBudget(archive_bytes=4_000_000, images=40, settings=settings, cpu_clock=lambda: used[0])
    whole = budget.cpu_seconds()
    assert whole == 5 + 1 + 1 + 2  # the start; the bytes; one image of a million pixels; the 40 images
    used[0] += whole - 1
    assert budget.cpu_seconds() == 1
    used[0] += 1
    with pytest.raises(Rejected) as refused:
        budget.cpu_seconds()
    assert refused.value.code == "archive_too_large"


def test_decoded_pixels_allow_more_processor_seconds(settings: WorkerSettings) -> None:
    budget = ArchiveBudget(archive_bytes=4_000_000, images=40, settings=settings)
    before = budget.cpu_seconds()
    budget.spend_pixels(16 * IMAGE)
    assert budget.cpu_seconds() == before + 8


def test_one_process_never_gets_more_than_the_limit_of_one(settings: WorkerSettings) -> None:
    narrow = settings.model_copy(update={"intake_cpu_seconds": 3})
    assert ArchiveBudget(archive_bytes=0, images=2, settings=narrow).cpu_seconds() == 3
