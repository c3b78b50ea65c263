"""The labels of an image for drift are names of known sets: no text of a file is one."""

import pytest

from certrad.workers.decoders.acquisition import acquisition_labels
from certrad.workers.settings import WorkerSettings
from tests.support.images import dicom, noise

BOTH = ("modality", "scanner_model")


def file(**elements: object) -> bytes:
    return dicom(noise(16, 16), **elements)


def test_labels_are_modality_and_a_listed_scanner_model() -> None:
    data = file(Modality="CT", ManufacturerModelName="Model A ")
    assert acquisition_labels(data, BOTH, {"Model A"}) == {"modality": "CT", "scanner_model": "Model A"}


def test_what_is_in_no_list_is_other() -> None:
    data = file(Modality="DOE", ManufacturerModelName="JANE")
    assert acquisition_labels(data, BOTH, {"Model A"}) == {"modality": "other", "scanner_model": "other"}


def test_only_allowed_labels_are_read() -> None:
    data = file(Modality="CT", ManufacturerModelName="Model A")
    assert acquisition_labels(data, ("modality",), {"Model A"}) == {"modality": "CT"}
    assert acquisition_labels(data, (), {"Model A"}) == {}


def test_a_file_without_the_elements_or_without_sense_has_no_label() -> None:
    assert acquisition_labels(file(Modality=None, ManufacturerModelName=None), BOTH, ()) == {}
    assert acquisition_labels(b"no DICOM", BOTH, ()) == {}


@pytest.mark.parametrize("labels", ["", "modality", "scanner_model,modality"])
def test_settings_take_the_two_labels(labels: str) -> None:
    assert WorkerSettings(drift_labels=labels).drift_labels == labels


@pytest.mark.parametrize("labels", ["PatientName", "modality;scanner_model", "modality,patient"])
def test_settings_refuse_any_other_label(labels: str) -> None:
    with pytest.raises(ValueError, match="drift_labels"):
        WorkerSettings(drift_labels=labels)


def test_scanner_models_are_few_and_short() -> None:
    assert WorkerSettings(drift_scanner_models=" Model A ;Model B;").scanner_models == {"Model A", "Model B"}
    for models in (";".join(map(str, range(41))), "x" * 65):
        with pytest.raises(ValueError, match="drift_scanner_models"):
            WorkerSettings(drift_scanner_models=models)
