"""`python -m certrad.bench report-pages` makes the example pages of the documentation."""

import argparse
from pathlib import Path

import pytest
from PIL import Image

from certrad.bench.common.classifier import default_classifier
from certrad.bench.docs import report_pages
from certrad.models.shipped import shipped_tasks
from tests.support.processes import ROOT

_MOST_BYTES = 80_000


def options(folder: Path) -> argparse.Namespace:
    """Options for a quick run."""
    parser = argparse.ArgumentParser()
    report_pages.add_arguments(parser)
    return parser.parse_args(["--folder", str(folder), "--n", "100"])


def test_phantom_is_certified_with_little_noise_and_abstained_from_with_much(tmp_path: Path) -> None:
    report_pages.run(options(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"page_certified.png", "page_abstained.png"}


def test_default_adapter_of_the_task_is_used() -> None:
    adapter = shipped_tasks()["mednist"].default_adapter
    spec, model = report_pages._default_model()
    assert adapter is not None
    assert (spec.adapter, model.adapter_images) == (adapter, "recorded")
    for backbone in (model.backbone, default_classifier("float32")(0.5).backbone):
        assert backbone.adapter is not None
        assert backbone.adapter.id == adapter


def test_page_of_another_outcome_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_pages, "SIGMAS", {"abstained": report_pages.SIGMAS["certified"]})
    with pytest.raises(ValueError, match="must be abstained, got certified"):
        report_pages.run(options(tmp_path))


@pytest.mark.parametrize("outcome", report_pages.SIGMAS)
def test_pictures_of_the_documentation_are_small(outcome: str) -> None:
    path = ROOT / "docs" / "images" / f"page_{outcome}.png"
    assert path.stat().st_size < _MOST_BYTES
    with Image.open(path) as picture:
        assert picture.width == 960
