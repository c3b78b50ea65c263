"""The Secondary Capture is valid DICOM about any patient, the same each time, and tied to image and report."""

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset

from certrad.models.certificates.statement import StatedAbstention
from certrad.workers.reports.page import page
from certrad.workers.reports.report import Report
from certrad.workers.reports.secondary_capture import secondary_capture
from certrad.workers.reports.source import read_source
from certrad.workers.reports.structured_report import dicom_file, structured_report
from tests.support.dicom_validators import dciodvfy_errors
from tests.support.report_pages import LONG, UNSURE, image, report, source

CERTIFIED: Final = report(names=("a", LONG, "c"), language="de", warnings=("no_window",))
ABSTAINED: Final = report(UNSURE)
_MULTI_FRAME: Final = "1.2.840.10008.5.1.4.1.1.2.1"
_NO_UIDS: Final = {"chrSQEncoding.dcm", "chrSQEncoding1.dcm"}  # samples of sequences, not of images
CHARACTER_SETS: Final = sorted(path for path in get_charset_files("*.dcm") if Path(path).name not in _NO_UIDS)


def read(file: bytes) -> Dataset:
    """A written file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the names of the sample files
        dataset = pydicom.dcmread(BytesIO(file))
        _ = dataset.PatientName
        return dataset


@pytest.mark.parametrize("path", CHARACTER_SETS, ids=lambda path: Path(path).stem)
@pytest.mark.parametrize("shown", [CERTIFIED, ABSTAINED], ids=["certified", "abstained"])
def test_capture_of_a_patient_with_any_character_set_has_no_error(shown: Report, path: str, tmp_path: Path) -> None:
    header = read_source(Path(path).read_bytes())
    file = dicom_file(secondary_capture(shown, header, None))
    assert dciodvfy_errors(file, tmp_path) == []
    assert read(file).PatientName == header.PatientName


@pytest.mark.parametrize("colour", [False, True], ids=["monochrome", "colour"])
@pytest.mark.parametrize("shown", [CERTIFIED, ABSTAINED], ids=["certified", "abstained"])
def test_capture_with_the_picture_has_no_error(shown: Report, colour: bool, tmp_path: Path) -> None:
    elements = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4", "Modality": "XC"} if colour else {}
    file = dicom_file(secondary_capture(shown, source(**elements), image(300, 200, colour=colour)))
    assert dciodvfy_errors(file, tmp_path) == []


@pytest.mark.parametrize("shown", [CERTIFIED, ABSTAINED], ids=["certified", "abstained"])
def test_capture_of_an_image_with_burned_in_text_has_no_error(shown: Report, tmp_path: Path) -> None:
    header = source(Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1", BurnedInAnnotation="YES")
    assert dciodvfy_errors(dicom_file(secondary_capture(shown, header, None)), tmp_path) == []


def test_capture_of_a_frame_of_a_de_identified_image_has_no_error(tmp_path: Path) -> None:
    header = source(
        SOPClassUID=_MULTI_FRAME,
        PatientIdentityRemoved="YES",
        DeidentificationMethod="x",
        TimezoneOffsetFromUTC="-0330",
    )
    file = dicom_file(secondary_capture(replace(CERTIFIED, frame=3), header, None))
    assert dciodvfy_errors(file, tmp_path) == []


def test_same_certificate_of_the_same_image_has_the_same_bytes() -> None:
    shown = image(64, 64)
    first = dicom_file(secondary_capture(CERTIFIED, source(), shown))
    assert dicom_file(secondary_capture(CERTIFIED, source(), shown.copy())) == first


def test_pixels_are_those_of_the_page() -> None:
    shown = image(64, 64, colour=True)
    written = read(dicom_file(secondary_capture(ABSTAINED, source(), shown)))
    assert np.array_equal(written.pixel_array, page(ABSTAINED, shown))


@pytest.mark.parametrize(
    ("other", "header", "shown"),
    [
        (replace(CERTIFIED, certificate_sha256="f" * 64), source(), image(8, 8)),
        (replace(CERTIFIED, frame=2), source(), image(8, 8)),
        (replace(CERTIFIED, language="en"), source(), image(8, 8)),
        (CERTIFIED, source(SOPInstanceUID="1.2.3.5"), image(8, 8)),
        (CERTIFIED, source(), None),
    ],
    ids=["certificate", "frame", "language", "image", "without picture"],
)
def test_another_page_is_another_instance_of_the_same_series(other: Report, header: Dataset, shown: Any) -> None:
    one, another = secondary_capture(CERTIFIED, source(), image(8, 8)), secondary_capture(other, header, shown)
    assert one.SOPInstanceUID != another.SOPInstanceUID
    assert one.SeriesInstanceUID == another.SeriesInstanceUID


def test_series_is_neither_that_of_the_image_nor_that_of_the_report() -> None:
    header = source()
    series = [
        secondary_capture(CERTIFIED, header, None).SeriesInstanceUID,
        structured_report(CERTIFIED, header).SeriesInstanceUID,
        header.SeriesInstanceUID,
    ]
    assert len(set(series)) == 3


def test_capture_refers_to_its_image_and_frame() -> None:
    header = source(SOPClassUID=_MULTI_FRAME)
    (reference,) = secondary_capture(replace(CERTIFIED, frame=3), header, None).SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == header.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == header.SOPClassUID
    assert reference.ReferencedFrameNumber == 3


def test_capture_refers_to_the_structured_report_of_the_same_certificate() -> None:
    (reference,) = secondary_capture(CERTIFIED, source(), None).ReferencedInstanceSequence
    expected = structured_report(CERTIFIED, source())
    assert reference.ReferencedSOPInstanceUID == expected.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == expected.SOPClassUID


@pytest.mark.parametrize(
    ("offset", "day", "time", "written"),
    [
        (None, "20261130", "060636", "+0100"),
        ("-0530", "20261129", "233636", "-0530"),
        ("+0900", "20261130", "140636", "+0900"),
    ],
)
def test_times_have_a_zone_that_is_the_images_if_it_has_one(
    offset: str | None, day: str, time: str, written: str
) -> None:
    elements = {} if offset is None else {"TimezoneOffsetFromUTC": offset}
    capture = secondary_capture(CERTIFIED, source(**elements), None)
    assert (capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture) == (day, time)
    assert (capture.ContentDate, capture.ContentTime) == (day, time)
    assert capture.TimezoneOffsetFromUTC == written


@pytest.mark.parametrize("language", ["en", "de"])
def test_capture_says_that_it_is_unverified_and_has_text_in_its_pixels(language: str) -> None:
    capture = secondary_capture(replace(ABSTAINED, language=language), source(), None)
    assert {"en": "unverified", "de": "ungeprüft"}[language] in capture.SeriesDescription
    assert capture.BurnedInAnnotation == "YES"
    assert capture.SeriesNumber == 9002


def test_header_of_an_abstention_names_no_class() -> None:
    capture = secondary_capture(ABSTAINED, source(), image(8, 8))
    assert isinstance(ABSTAINED.statement.claim, StatedAbstention)
    del capture.PixelData
    assert [name for name in ABSTAINED.statement.classifier.class_names if name in str(capture)] == []
