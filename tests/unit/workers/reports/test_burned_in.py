"""Images that may have text burned into their pixels."""

import pytest

from certrad.workers.reports.burned_in import may_have_burned_in_annotation
from tests.support.report_pages import source

_STORAGE = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize(
    "elements",
    [
        {"BurnedInAnnotation": "YES"},
        {"Modality": "US"},
        {"Modality": "SC"},
        {"Modality": "OT"},
        {"Modality": "US", "BurnedInAnnotation": "NO"},
        {"Modality": "CT", "SOPClassUID": f"{_STORAGE}7"},
        {"Modality": "CT", "SOPClassUID": f"{_STORAGE}7.4"},
    ],
)
def test_images_of_these_kinds_may_have_text(elements: dict[str, str]) -> None:
    assert may_have_burned_in_annotation(source(**elements))


@pytest.mark.parametrize(
    "elements",
    [{}, {"BurnedInAnnotation": "NO"}, {"Modality": "MR"}, {"SOPClassUID": f"{_STORAGE}77.1.6", "Modality": "SM"}],
)
def test_other_images_have_none(elements: dict[str, str]) -> None:
    assert not may_have_burned_in_annotation(source(**elements))
