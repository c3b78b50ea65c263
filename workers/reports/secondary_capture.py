"""The Secondary Capture of a certificate: the page as an image in the patient's own study, for viewers of any kind.

It is built element by element: highdicom would refuse or log values of headers that are not as DICOM demands. The same
certificate of the same image makes the same bytes, so that a job that runs again sends no second page.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from certrad.models.certificates.statement import StatedCertificate
from certrad.workers.reports.identifiers import classifier_id, derived_uid, has_frames, structured_report_uid
from certrad.workers.reports.local_time import local_time
from certrad.workers.reports.measurement_group import MANUFACTURER
from certrad.workers.reports.page import page
from certrad.workers.reports.report import Report
from certrad.workers.reports.silence import silenced
from certrad.workers.reports.source import CHARACTER_SET, PATIENT_AND_STUDY
from certrad.workers.reports.texts import Texts

SERIES_NUMBER: Final = 9002
_IMPLEMENTATION: Final = derived_uid("implementation", MANUFACTURER)
_LONG_STRING: Final = 64
_SOURCE: Final = ("121322", "DCM", "Source image for image processing operation")
_REPORT: Final = ("126000", "DCM", "Imaging Measurement Report")


def secondary_capture(report: Report, source: Dataset, image: NDArray[np.uint8] | None) -> Dataset:
    """Returns the page of a certificate as a Secondary Capture image.

    It carries the demographics of the patient, because it belongs into the patient's own study.

    Args:
        report: The certificate.
        source: The header of the image, see `read_source`.
        image: The image as it was shown to the model, height x width x 3; None for a page without it, because text may
            be burned into its pixels.
    """
    with silenced():
        capture = Dataset()
        capture.SpecificCharacterSet = CHARACTER_SET
        for keyword in PATIENT_AND_STUDY:
            if keyword in source:
                capture.add(source[keyword])
        _series_and_equipment(capture, report, source)
        _instance(capture, report, source, has_picture=image is not None)
        _references(capture, report, source)
        _pixels(capture, page(report, image))
        capture.file_meta = _file_meta(capture)
        return capture


def _series_and_equipment(capture: Dataset, report: Report, source: Dataset) -> None:
    classifier = classifier_id(report.statement.classifier)
    capture.Modality = "OT"
    capture.SeriesInstanceUID = derived_uid("secondary capture series", source.StudyInstanceUID, classifier)
    capture.SeriesNumber = SERIES_NUMBER
    capture.SeriesDescription = Texts(report.language)("series.secondary_capture")
    laterality = source.get("Laterality", "")
    capture.Laterality = laterality if laterality in ("L", "R") else ""
    capture.ConversionType = "WSD"
    capture.Manufacturer = MANUFACTURER
    capture.ManufacturerModelName = f"{MANUFACTURER} {report.statement.classifier.backbone}"[:_LONG_STRING]
    capture.SoftwareVersions = report.software_version[:_LONG_STRING]
    capture.DeviceSerialNumber = classifier[:16]


def _instance(capture: Dataset, report: Report, source: Dataset, *, has_picture: bool) -> None:
    created = local_time(report.issued_at, source)
    day, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    outcome = "certified" if isinstance(report.statement.claim, StatedCertificate) else "abstained"
    capture.SOPClassUID = SecondaryCaptureImageStorage
    # A page in another language, of another tenant, or without its picture, is another image.
    capture.SOPInstanceUID = derived_uid(
        "secondary capture",
        source.SOPInstanceUID,
        report.frame,
        report.certificate_sha256,
        report.edition,
        has_picture,
    )
    capture.InstanceNumber = report.frame or int(source.get("InstanceNumber") or 1)
    capture.InstanceCreationDate = capture.ContentDate = capture.DateOfSecondaryCapture = day
    capture.InstanceCreationTime = capture.ContentTime = capture.TimeOfSecondaryCapture = time
    capture.TimezoneOffsetFromUTC = created.strftime("%z")
    capture.PatientOrientation = ""
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = Texts(report.language)(
        f"derivation.{outcome}" if has_picture else f"derivation.{outcome}_without_picture"
    )


def _references(capture: Dataset, report: Report, source: Dataset) -> None:
    image = _reference(source.SOPClassUID, source.SOPInstanceUID, _SOURCE)
    if report.frame is not None and has_frames(source.SOPClassUID):
        image.ReferencedFrameNumber = report.frame
    image.SpatialLocationsPreserved = "NO"
    capture.SourceImageSequence = [image]
    uid = structured_report_uid(source.SOPInstanceUID, report.frame, report.certificate_sha256, report.edition)
    capture.ReferencedInstanceSequence = [_reference(Comprehensive3DSRStorage, uid, _REPORT)]


def _reference(sop_class: str, sop_instance: str, purpose: tuple[str, str, str]) -> Dataset:
    reference, code = Dataset(), Dataset()
    reference.ReferencedSOPClassUID = sop_class
    reference.ReferencedSOPInstanceUID = sop_instance
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = purpose
    reference.PurposeOfReferenceCodeSequence = [code]
    return reference


def _pixels(capture: Dataset, pixels: NDArray[np.uint8]) -> None:
    capture.SamplesPerPixel = 3
    capture.PhotometricInterpretation = "RGB"
    capture.PlanarConfiguration = 0
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit = 7
    capture.PixelRepresentation = 0
    data = pixels.tobytes()
    capture.PixelData = data + b"\0" * (len(data) % 2)


def _file_meta(capture: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = capture.SOPClassUID
    meta.MediaStorageSOPInstanceUID = capture.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = MANUFACTURER.upper()
    return meta
