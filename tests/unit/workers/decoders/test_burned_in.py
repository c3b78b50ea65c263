"""Some kinds of images may have text burned into their pixels, and others have none."""

from typing import Any

import pytest

from certrad.workers.decoders.burned_in import may_have_burned_in_annotation
from tests.support.sample_reports import source

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_CT = {"SOPClassUID": f"{_STORAGE}2", "Modality": "CT"}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    "elements",
    [
        {"BurnedInAnnotation": "YES"},
        {"BurnedInAnnotation": "Yes"},
        {"BurnedInAnnotation": "yes"},
        {"BurnedInAnnotation": "Y"},
        {"BurnedInAnnotation": "JA!"},
        {"BurnedInAnnotation": ["NO", "YES"]},
        {"Modality": "US"},
        {"Modality": "SC"},
        {"Modality": "OT"},
        {"Modality": "US", "BurnedInAnnotation": "NO"},
        {"Modality": "CT", "SOPClassUID": f"{_STORAGE}7"},
        {"Modality": "CT", "SOPClassUID": f"{_STORAGE}7.4"},
    ],
)
def test_images_of_these_kinds_may_have_text(elements: dict[str, Any]) -> None:
    assert may_have_burned_in_annotation(source(**{**_CT, **elements}))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"BurnedInAnnotation": "NO"},
        {"BurnedInAnnotation": "no"},
        {"BurnedInAnnotation": ""},
        {"Modality": "MR"},
        {"SOPClassUID": f"{_STORAGE}77.1.6", "Modality": "SM"},
    ],
)
def test_other_images_have_none(elements: dict[str, Any]) -> None:
    assert not may_have_burned_in_annotation(source(**{**_CT, **elements}))
