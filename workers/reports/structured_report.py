"""The structured report of a certificate: a DICOM Comprehensive 3D SR by template TID 1500, beside the image.

The same certificate of the same image always makes the same bytes, so that a job that runs again sends no second
report.
"""

import io
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.valuerep import DT

from certrad.workers.reports import codes
from certrad.workers.reports.identifiers import classifier_id, derived_uid, structured_report_uid
from certrad.workers.reports.local_time import local_time
from certrad.workers.reports.measurement_group import MANUFACTURER, measurement_group
from certrad.workers.reports.report import Predecessor, Report
from certrad.workers.reports.silence import silenced
from certrad.workers.reports.source import CHARACTER_SET, PATIENT_AND_STUDY
from certrad.workers.reports.texts import Texts

_SERIES_NUMBER: Final = 9001
_LONG_STRING: Final = 64


class _Report(Comprehensive3DSR):
    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Copies the elements of `PATIENT_AND_STUDY`; highdicom knows no private or retired classes and copies more."""
        for keyword in PATIENT_AND_STUDY:
            if keyword in dataset:
                self.add(dataset[keyword])


def structured_report(report: Report, source: Dataset) -> Dataset:
    """Returns the structured report of a certificate: complete, preliminary and unverified.

    It carries the demographics of the patient, because it belongs into the patient's own study.

    Args:
        report: The certificate.
        source: The header of the image, see `read_source`.
    """
    with silenced():
        return _structured_report(report, source)


def dicom_file(dataset: Dataset) -> bytes:
    """Returns a data set as a DICOM file.

    Args:
        dataset: The data set, with its file meta information.
    """
    file = io.BytesIO()
    with silenced():
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _structured_report(report: Report, source: Dataset) -> Dataset:
    classifier = classifier_id(report.statement.classifier)
    model = f"certrad {report.statement.classifier.backbone}"[:_LONG_STRING]
    created = local_time(report.issued_at, source)
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=dicom_codes.DCM.Device,
                observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                    uid=derived_uid("device", classifier, report.software_version),
                    name=MANUFACTURER,
                    manufacturer_name=MANUFACTURER,
                    model_name=model,
                    serial_number=classifier[:16],
                ),
            )
        ),
        procedure_reported=dicom_codes.SCT.ImagingProcedure,
        imaging_measurements=[measurement_group(report, source)],
        title=dicom_codes.DCM.ImagingMeasurementReport,
    )
    document = _Report(
        evidence=[source],
        content=content,
        specific_character_set=CHARACTER_SET,
        series_instance_uid=derived_uid("structured report series", source.StudyInstanceUID, classifier),
        series_number=_SERIES_NUMBER,
        series_description=Texts(report.language)("series.structured_report"),
        sop_instance_uid=structured_report_uid(
            source.SOPInstanceUID, report.frame, report.certificate_sha256, report.edition
        ),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model,
        software_versions=report.software_version[:_LONG_STRING],
        device_serial_number=classifier[:16],
        content_date=created.date(),
        content_time=created.time(),
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=None if report.predecessor is None else [_reference(report.predecessor)],
        coding_schemes=[_scheme()],
    )
    # highdicom writes the time of this run, so that no two runs would make the same bytes.
    document.InstanceCreationDate, document.InstanceCreationTime = document.ContentDate, document.ContentTime
    for equipment in document.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DT(created)
    document.TimezoneOffsetFromUTC = created.strftime("%z")
    return document


def _scheme() -> CodingSchemeIdentificationItem:
    scheme = CodingSchemeIdentificationItem(
        designator=codes.SCHEME,
        name=codes.SCHEME_NAME,
        version=codes.SCHEME_VERSION,
        responsible_organization=MANUFACTURER,
    )
    scheme.CodingSchemeUID = codes.SCHEME_UID  # highdicom writes it for registered schemes only
    return scheme


def _reference(predecessor: Predecessor) -> Dataset:
    reference = Dataset()
    reference.SOPClassUID = predecessor.sop_class_uid
    reference.SOPInstanceUID = predecessor.sop_instance_uid
    reference.SeriesInstanceUID = predecessor.series_instance_uid
    reference.StudyInstanceUID = predecessor.study_instance_uid
    return reference
