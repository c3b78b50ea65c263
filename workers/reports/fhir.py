"""A certificate as a FHIR R4 bundle: a transaction that a FHIR server can take twice without keeping anything twice.

Everything but the Provenance is created unless a resource with its identifier is there; the Provenance, which has no
identifier in R4, is put under an id of its own. All ids follow from the certificate and the image.
"""

import base64
import html
import uuid
from collections.abc import Iterable
from typing import Any, Final

from pydicom import Dataset

from certrad.models.certificates.statement import StatedCertificate
from certrad.workers.reports.codes import CERTIFICATE_SHA256, SCHEME_UID, SCHEME_URL, Code
from certrad.workers.reports.fhir_elements import (
    DICOM_UID,
    URI,
    Element,
    concept,
    concept_of,
    identified,
)
from certrad.workers.reports.fhir_observation import observation
from certrad.workers.reports.further_claims import further_claims
from certrad.workers.reports.identifiers import structured_report_uid
from certrad.workers.reports.noise_space import space_text
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import Texts
from certrad.workers.reports.variants import short_text

_NAMESPACE: Final = uuid.UUID(int=int(SCHEME_UID.removeprefix("2.25.")))
_AI: Final = Code(value="123110", scheme="DCM", meaning="Artificial Intelligence")
_IMAGING_STUDY: Final = Code(value="18748-4", scheme="LN", meaning="Diagnostic imaging study")
_RADIOLOGY: Final = ("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")
_ACCESSION: Final = ("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID")
_RECORD_NUMBER: Final = ("http://terminology.hl7.org/CodeSystem/v2-0203", "MR", "Medical record number")
_CREATE: Final = ("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create")
_ASSEMBLER: Final = ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "assembler", "Assembler")
_SOURCE_SIGNATURE: Final = {
    "system": "urn:iso-astm:E1762-95:2013",
    "code": "1.2.840.10065.1.12.1.14",
    "display": "Source Signature",
}


def fhir_bundle(report: Report, source: Dataset | None, *, jws: str | None = None) -> dict[str, Any]:
    """Returns a report as a FHIR R4 bundle of type `transaction`; the same report always gives the same bundle.

    Args:
        report: The report.
        source: The header of the DICOM image; None for an image of another format, about whose patient nothing is
            known.
        jws: The signed certificate as JSON Web Signature, for the Provenance.
    """
    names = _Names(report, source)
    subject = None if source is None else _patient(source, Texts(report.language))
    device, seen = {"reference": names.url("Device")}, {"reference": names.url("Observation")}
    study = None if source is None else {"reference": names.url("ImagingStudy")}
    entries = []
    if source is not None:
        uid = f"urn:oid:{source.StudyInstanceUID}"
        entries.append(names.created(_imaging_study(source, subject), identifier=(DICOM_UID, uid)))
    entries.append(names.created(_device(report)))
    entries.append(names.created(observation(report, subject=subject, device=device, study=study)))
    document = _diagnostic_report(report, source, subject=subject, result=seen, study=study)
    entries.append(names.created(document, also=_structured_report(report, source)))
    targets = [{"reference": names.url("DiagnosticReport")}, seen]
    entries.append(names.put(_provenance(report, targets, device=device, study=study, jws=jws)))
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


class _Names:
    """The ids of the resources of one bundle."""

    def __init__(self, report: Report, source: Dataset | None) -> None:
        classifier = report.statement.classifier
        image = ("", "") if source is None else (str(source.SOPInstanceUID), str(report.frame or ""))
        self._of_report = (report.certificate_sha256, *image, report.language)
        self._of_device = (
            report.software_version,
            classifier.backbone_sha256,
            classifier.prompt,
            classifier.prompt_sha256 or "",
            classifier.dtype,
            *([] if classifier.adapter_sha256 is None else [classifier.adapter_sha256]),
        )
        self._of_study = ("",) if source is None else (str(source.StudyInstanceUID),)

    def url(self, kind: str) -> str:
        """Returns the address of the resource of a type within the bundle."""
        return f"urn:uuid:{self._id(kind)}"

    def created(
        self, resource: Element, *, identifier: tuple[str, str] | None = None, also: str | None = None
    ) -> Element:
        """Returns the entry that creates a resource, unless one with its identifier is there.

        Args:
            resource: The resource.
            identifier: System and value of its identifier; None for one made here.
            also: The DICOM object that says the same, by which later reports name the resource.
        """
        kind = resource["resourceType"]
        system, value = identifier or (URI, self.url(kind))
        identifiers = [{"system": system, "value": value}, *([{"system": DICOM_UID, "value": also}] if also else [])]
        return {
            "fullUrl": self.url(kind),
            "resource": {**resource, "identifier": identifiers},
            "request": {"method": "POST", "url": kind, "ifNoneExist": f"identifier={system}|{value}"},
        }

    def put(self, resource: Element) -> Element:
        """Returns the entry that puts a resource under its own id."""
        kind = resource["resourceType"]
        name = str(self._id(kind))
        return {
            "fullUrl": self.url(kind),
            "resource": {"resourceType": kind, "id": name, **resource},
            "request": {"method": "PUT", "url": f"{kind}/{name}"},
        }

    def _id(self, kind: str) -> uuid.UUID:
        parts = {"Device": self._of_device, "ImagingStudy": self._of_study}.get(kind, self._of_report)
        return uuid.uuid5(_NAMESPACE, "|".join((kind, *parts)))


def _patient(source: Dataset, texts: Texts) -> Element:
    """Returns the patient as a logical reference: the server knows the patient, and this bundle creates none."""
    number = str(source.get("PatientID", "") or "")
    if not number:
        return {"type": "Patient", "display": texts("fhir.no_patient")}
    issuer = str(source.get("IssuerOfPatientID", "") or "")
    assigner = {"assigner": {"display": issuer}} if issuer else {}
    identifier = {"type": concept_of(*_RECORD_NUMBER), "value": number, **assigner}
    return {"type": "Patient", "identifier": identifier}


def _imaging_study(source: Dataset, subject: Element | None) -> Element:
    series = {
        "uid": str(source.SeriesInstanceUID),
        "modality": {
            "system": "http://dicom.nema.org/resources/ontology/DCM",
            "code": str(source.get("Modality", "") or "OT"),
        },
        "instance": [
            {
                "uid": str(source.SOPInstanceUID),
                "sopClass": {"system": URI, "code": f"urn:oid:{source.SOPClassUID}"},
            }
        ],
    }
    return {"resourceType": "ImagingStudy", "status": "available", "subject": subject, "series": [series]}


def _device(report: Report) -> Element:
    classifier = report.statement.classifier
    versions = {
        "certrad": report.software_version,
        "backbone SHA-256": classifier.backbone_sha256,
        "adapter": classifier.adapter,
        "adapter SHA-256": classifier.adapter_sha256,
        "prompt": classifier.prompt,
        "prompt SHA-256": classifier.prompt_sha256,
    }
    return {
        "resourceType": "Device",
        "status": "active",
        "manufacturer": "certrad",
        "deviceName": [{"name": classifier.backbone, "type": "model-name"}],
        "type": concept(_AI),
        "version": [{"type": {"text": name}, "value": value} for name, value in versions.items() if value],
    }


def _diagnostic_report(
    report: Report, source: Dataset | None, *, subject: Element | None, result: Element, study: Element | None
) -> Element:
    conclusion = " ".join(_sentences(report))
    accession = "" if source is None else str(source.get("AccessionNumber", "") or "")
    order = {"type": "ServiceRequest", "identifier": {"type": concept_of(*_ACCESSION), "value": accession}}
    moment = report.issued_at.isoformat(timespec="seconds")
    return {
        "resourceType": "DiagnosticReport",
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{html.escape(conclusion)}</p></div>',
        },
        "status": "preliminary",
        "category": [concept_of(*_RADIOLOGY)],
        "code": concept(_IMAGING_STUDY),
        "effectiveDateTime": moment,
        "issued": moment,
        "result": [result],
        "conclusion": conclusion,
        **({"conclusionCode": [concept(report.finding)]} if report.finding and report.names_class else {}),
        **({"basedOn": [order]} if accession else {}),
        **({"subject": subject} if subject else {}),
        **({"imagingStudy": [study]} if study else {}),
    }


def _sentences(report: Report) -> Iterable[str]:
    """Yields what a person reads first."""
    statement, texts = report.statement, Texts(report.language)
    yield texts("conclusion.unverified")
    if isinstance(statement.claim, StatedCertificate):
        if statement.claim.unlike:
            yield texts("conclusion.unlike")
        else:
            yield texts("conclusion.class", class_name=statement.claim.label)
        yield space_text(statement, texts, "conclusion.radius", radius=texts.number(statement.claim.radius))
        if not statement.claim.unlike:
            yield texts("conclusion.correctness")
    else:
        yield texts("conclusion.abstained")
    if statement.variants is not None:
        yield short_text(statement.variants, statement, texts)
    for each in further_claims(statement, texts):
        yield each.line
    yield texts("conclusion.scope", scope=texts.scope(statement))


def _structured_report(report: Report, source: Dataset | None) -> str | None:
    """Returns the structured report that says the same; None without a DICOM image, about which there is none."""
    if source is None:
        return None
    uid = structured_report_uid(source.SOPInstanceUID, report.frame, report.certificate_sha256, report.edition)
    return f"urn:oid:{uid}"


def _provenance(
    report: Report, targets: list[Element], *, device: Element, study: Element | None, jws: str | None
) -> Element:
    moment = report.issued_at.isoformat(timespec="seconds")
    document = {
        "identifier": {"type": concept(CERTIFICATE_SHA256), "system": SCHEME_URL, "value": report.certificate_sha256}
    }
    entities = [{"role": "source", "what": study}] if study else []
    entities.append({"role": "source", "what": document})
    if report.predecessor is not None:
        earlier = identified("DiagnosticReport", DICOM_UID, f"urn:oid:{report.predecessor.sop_instance_uid}")
        entities.append({"role": "revision", "what": earlier})
    return {
        "resourceType": "Provenance",
        "target": targets,
        "recorded": moment,
        "activity": concept_of(*_CREATE),
        "agent": [{"type": concept_of(*_ASSEMBLER), "who": device}],
        "entity": entities,
        **({"signature": [_signature(jws, moment, device)]} if jws else {}),
    }


def _signature(jws: str, moment: str, device: Element) -> Element:
    """Returns the signature of the certificate document, the payload of the JWS: R4 has no other place for it."""
    return {
        "type": [_SOURCE_SIGNATURE],
        "when": moment,
        "who": device,
        "targetFormat": "application/json",
        "sigFormat": "application/jose",
        "data": base64.b64encode(jws.encode()).decode(),
    }
