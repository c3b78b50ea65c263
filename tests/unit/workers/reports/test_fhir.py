"""The FHIR bundle of a certificate is valid in R4B, and in what the models of R4B do not check."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import Dataset

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.statement import StatedCertificate
from certrad.models.types.image import IMAGE_WARNINGS
from certrad.workers.reports import codes
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.report import Predecessor, Report
from certrad.workers.reports.structured_report import structured_report
from tests.support import sample_reports
from tests.support.certificates import ADAPTER, CASES, Case, genuine

CERTIFIED = CASES[6]
ABSTAINED = next(case for case in CASES if max(case.probabilities) < 0.2)
TARGET = next(case for case in CASES if case.params.target_radius and len(case.probabilities) > 3)
TUNED = next(case for case in CASES if "steps" in str(case.adaptation))
RULES = {"certified": CERTIFIED, "abstained": ABSTAINED, "target": TARGET, "frozen prompt": TUNED}
SCHEME = codes.SCHEME_URL
STATUSES = {
    "Observation": {"preliminary"},  # of the statuses of R4, the only one of a result that nobody has verified
    "DiagnosticReport": {"preliminary"},
    "ImagingStudy": {"available"},
    "Device": {"active"},
}
ALLOWED: dict[str, set[str | None]] = {
    "subject": {"Patient"},
    "device": {"Device"},
    "who": {"Device"},
    "derivedFrom": {"ImagingStudy"},
    "imagingStudy": {"ImagingStudy"},
    "result": {"Observation"},
    "target": {"DiagnosticReport", "Observation"},
    "what": {"ImagingStudy", "DiagnosticReport", None},
    "basedOn": {"ServiceRequest"},
}
"""Name of an element with references -> the types that it may refer to here; all of them are allowed in R4."""


def source(**changes: str) -> Dataset:
    header = Dataset()
    fields = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": "1.2.3.4.5",
        "SeriesInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "Modality": "CR",
        "PatientID": "4711",
        "PatientName": "Doe^Jane",
        "IssuerOfPatientID": "Hospital",
        "AccessionNumber": "A-1",
    }
    for name, value in {**fields, **changes}.items():
        setattr(header, name, value)
    return header


def report(case: Case, **changes: Any) -> Report:
    statement = read(parse(genuine(case)))
    label = getattr(statement.claim, "label", None)
    fields: dict[str, Any] = {
        "statement": statement,
        "certificate_sha256": "ab" * 32,
        "finding": None if label is None else codes.finding(label, {}),
        "issued_at": datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=1))),
        "software_version": "0.1.0",
    }
    return Report(**{**fields, **changes})


def resources(bundle: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}


def components(bundle: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["code"]["coding"][0]["code"]: part for part in resources(bundle)["Observation"]["component"]}


def elements(node: object, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object, by the name of its element."""
    if isinstance(node, dict):
        yield name, node
        for key, value in node.items():
            yield from elements(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from elements(value, name)


EVERY = [
    pytest.param(case, header, id=f"{name}, {'DICOM' if header else 'PNG'}")
    for name, case in RULES.items()
    for header in (source(), None)
]
every_bundle = pytest.mark.parametrize(("case", "header"), EVERY)


@every_bundle
def test_bundle_is_valid_in_r4b(case: Case, header: Dataset | None) -> None:
    bundle = fhir_bundle(report(case, warnings=("no_window",)), header, jws="a.b.c")
    assert Bundle.model_validate_json(json.dumps(bundle, allow_nan=False)).type == "transaction"


@every_bundle
def test_statuses_are_of_results_that_nobody_has_verified(case: Case, header: Dataset | None) -> None:
    for kind, resource in resources(fhir_bundle(report(case), header)).items():
        assert kind == "Provenance" or resource["status"] in STATUSES[kind]


@every_bundle
def test_an_observation_has_a_value_or_a_reason_and_never_both(case: Case, header: Dataset | None) -> None:
    bundle = fhir_bundle(report(case), header)
    observation = resources(bundle)["Observation"]
    for element in (observation, *observation["component"]):
        values = [name for name in element if name.startswith("value")]
        assert len(values) + ("dataAbsentReason" in element) == 1  # obs-6
    assert codes.FINDING.value not in components(bundle)  # obs-7


@every_bundle
def test_every_reference_resolves_in_the_bundle_or_is_logical_and_of_an_allowed_type(
    case: Case, header: Dataset | None
) -> None:
    bundle = fhir_bundle(report(case), header, jws="a.b.c")
    kinds = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    seen = 0
    for name, element in elements(bundle):
        if "reference" in element:
            assert kinds[element["reference"]] in ALLOWED[name]
        elif name in ALLOWED:
            assert element.get("type") in ALLOWED[name]
            assert {"identifier", "display"} & set(element)
        else:
            continue
        seen += 1
    assert seen >= 6


@every_bundle
def test_every_quantity_is_a_finite_number_with_the_ucum_unit_one(case: Case, header: Dataset | None) -> None:
    quantities = [value for name, value in elements(fhir_bundle(report(case), header)) if name == "valueQuantity"]
    for quantity in quantities:
        assert (quantity["system"], quantity["code"], quantity["unit"]) == ("http://unitsofmeasure.org", "1", "1")
        assert quantity["value"] > 0
    assert len(quantities) >= 2


def test_a_certified_class_comes_with_its_bounds_and_scope() -> None:
    certified = report(CERTIFIED)
    claim: Any = certified.statement.claim
    bundle = fhir_bundle(certified, source())
    parts = components(bundle)
    assert resources(bundle)["Observation"]["valueCodeableConcept"]["coding"][0]["display"] == claim.label
    radius, probability = parts["CERT-L2-RADIUS"]["valueQuantity"], parts["PA-LOWER"]["valueQuantity"]
    assert (radius["value"], radius["comparator"]) == (claim.radius, ">=")
    assert (probability["value"], probability["comparator"]) == (claim.p_a_lower, ">=")
    assert " HU in every value" in parts["RADIUS-IN-IMAGE"]["valueString"]
    scope = parts["CERT-SCOPE"]["valueCodeableConcept"]
    assert (scope["coding"][0]["code"], scope["text"]) == ("INPUT-INDEPEND", certified.statement.scope_text)
    assert parts["CERT-OUTCOME"]["valueCodeableConcept"]["coding"][0] == {
        "system": SCHEME,
        "code": "CERTIFIED",
        "display": codes.CERTIFIED.meaning,
    }


def test_a_prompt_tuned_on_the_image_is_said_to_be_frozen() -> None:
    scope = components(fhir_bundle(report(TUNED), None))["CERT-SCOPE"]["valueCodeableConcept"]
    assert scope["coding"][0]["code"] == "FROZEN-PROMPT"


def test_an_abstention_has_no_value_no_class_and_no_number_for_a_radius() -> None:
    bundle = fhir_bundle(report(ABSTAINED), source())
    observation, parts = resources(bundle)["Observation"], components(bundle)
    assert [coding["code"] for coding in observation["dataAbsentReason"]["coding"]] == ["unknown", "ABSTAINED"]
    assert parts["CERT-L2-RADIUS"]["dataAbsentReason"]["coding"][0]["code"] == "not-applicable"
    assert parts["ABSTAIN-REASON"]["valueCodeableConcept"]["coding"][0]["code"] == "NO-MAJORITY"
    assert {"PA-LOWER", "RADIUS-IN-IMAGE"} & set(parts) == set()
    assert "conclusionCode" not in resources(bundle)["DiagnosticReport"]
    assert "abstained" in resources(bundle)["DiagnosticReport"]["conclusion"]
    assert not any(name in json.dumps(bundle) for name in report(ABSTAINED).statement.classifier.class_names)


def test_a_missed_target_is_said_to_be_missed() -> None:
    made = report(TARGET)
    assert isinstance(made.statement.claim, StatedCertificate)
    claim = replace(made.statement.claim, target_reached=False)
    missed = replace(made, statement=replace(made.statement, claim=claim))
    parts = components(fhir_bundle(missed, None))
    assert parts["TARGET-OUTCOME"]["valueCodeableConcept"]["coding"][0]["code"] == "TARGET-MISSED"
    assert parts["TARGET-RADIUS"]["valueQuantity"]["value"] == made.statement.params.target_radius


def test_every_warning_has_a_component_of_its_own() -> None:
    warned = report(CERTIFIED, warnings=tuple(dict.fromkeys([*IMAGE_WARNINGS, "burned_in_annotation"])))
    told = [
        part["valueCodeableConcept"]["coding"][0]["code"]
        for part in resources(fhir_bundle(warned, None))["Observation"]["component"]
        if part["code"]["coding"][0]["code"] == "CERT-WARNING"
    ]
    assert told == ["LOW-CONTRAST", "NO-WINDOW", "SEVERAL-WINDOWS", "VOI-LUT-REDUCED", "BURNED-IN"]


def test_the_patient_is_named_by_identifier_and_never_created() -> None:
    made = resources(fhir_bundle(report(CERTIFIED), source()))
    assert set(made) == {"ImagingStudy", "Device", "Observation", "DiagnosticReport", "Provenance"}
    for kind in ("ImagingStudy", "Observation", "DiagnosticReport"):
        assert made[kind]["subject"]["identifier"]["value"] == "4711"
        assert made[kind]["subject"]["identifier"]["assigner"] == {"display": "Hospital"}
    assert "Jane" not in json.dumps(made)


def test_a_patient_without_identifier_is_told_apart_from_one_with_an_empty_one() -> None:
    made = resources(fhir_bundle(report(CERTIFIED), source(PatientID="")))
    assert "identifier" not in made["ImagingStudy"]["subject"]


def test_an_image_that_is_no_dicom_has_no_patient_and_no_study() -> None:
    made = resources(fhir_bundle(report(CERTIFIED), None))
    assert set(made) == {"Device", "Observation", "DiagnosticReport", "Provenance"}
    assert not any(name in {"subject", "derivedFrom", "imagingStudy"} for name, _ in elements(made))


def test_the_image_is_named_by_its_uids() -> None:
    study = resources(fhir_bundle(report(CERTIFIED, frame=3), source()))["ImagingStudy"]
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    assert study["series"][0]["uid"] == "1.2.3.4"
    assert study["series"][0]["instance"][0]["uid"] == "1.2.3.4.5"


def test_the_frame_is_a_component() -> None:
    assert components(fhir_bundle(report(CERTIFIED, frame=3), source()))["121190"]["valueInteger"] == 3


def test_the_same_report_gives_the_same_bundle() -> None:
    assert fhir_bundle(report(CERTIFIED), source()) == fhir_bundle(report(CERTIFIED), source())


def test_another_image_or_certificate_or_frame_gives_other_ids_and_the_device_stays() -> None:
    bundles = [
        fhir_bundle(report(CERTIFIED, **changes), header)
        for changes, header in (
            ({}, source()),
            ({}, source(SOPInstanceUID="1.2.3.4.6")),
            ({}, None),
            ({"certificate_sha256": "cd" * 32}, source()),
            ({"frame": 2}, source()),
        )
    ]
    urls = [{each["resource"]["resourceType"]: each["fullUrl"] for each in bundle["entry"]} for bundle in bundles]
    for kind in ("Observation", "DiagnosticReport", "Provenance"):
        assert len({of[kind] for of in urls}) == len(bundles)
    assert len({of["Device"] for of in urls}) == 1


def test_device_of_an_adapted_encoder_names_the_adapter_and_is_another_device() -> None:
    devices = []
    for case in (CERTIFIED, replace(CERTIFIED, adapter=ADAPTER)):
        bundle = fhir_bundle(report(case), source())
        url = next(each["fullUrl"] for each in bundle["entry"] if each["resource"]["resourceType"] == "Device")
        versions = {each["type"]["text"]: each["value"] for each in resources(bundle)["Device"]["version"]}
        devices.append((url, versions))
    (frozen, plain), (adapted, named) = devices
    assert frozen != adapted
    assert named.keys() - plain.keys() == {"adapter", "adapter SHA-256"}
    assert named["adapter"] == ADAPTER


def test_radius_and_sigma_on_the_image_have_codes_of_their_own() -> None:
    observation = resources(fhir_bundle(report(replace(CERTIFIED, noise_space="image")), source()))["Observation"]
    codes = {part["code"]["coding"][0]["code"] for part in observation["component"]}
    assert {"CERT-L2-RENDERED", "RENDERED-SIGMA"} <= codes
    assert not {"CERT-L2-RADIUS", "SMOOTH-SIGMA"} & codes


def test_a_second_post_creates_nothing() -> None:
    for entry in fhir_bundle(report(CERTIFIED), source())["entry"]:
        resource, request = entry["resource"], entry["request"]
        if resource["resourceType"] == "Provenance":  # it has no identifier in R4
            assert (request["method"], request["url"]) == ("PUT", f"Provenance/{resource['id']}")
        else:
            named = resource["identifier"][0]
            assert request["method"] == "POST"
            assert request["ifNoneExist"] == f"identifier={named['system']}|{named['value']}"


def test_every_time_is_that_of_the_report_with_its_zone() -> None:
    made = resources(fhir_bundle(report(CERTIFIED), source(), jws="a.b.c"))
    times = [
        made["Observation"]["issued"],
        made["Observation"]["effectiveDateTime"],
        made["DiagnosticReport"]["issued"],
        made["Provenance"]["recorded"],
        made["Provenance"]["signature"][0]["when"],
    ]
    assert set(times) == {"2026-03-01T12:30:00+01:00"}
    utc = resources(fhir_bundle(report(CERTIFIED, issued_at=datetime(2026, 1, 1, tzinfo=UTC)), None))
    assert utc["Observation"]["issued"] == "2026-01-01T00:00:00+00:00"


def test_the_signature_is_the_jws_and_absent_without_one() -> None:
    signature = resources(fhir_bundle(report(CERTIFIED), None, jws="eyJ.a.b"))["Provenance"]["signature"][0]
    assert signature["sigFormat"] == "application/jose"
    assert base64.b64decode(signature["data"]) == b"eyJ.a.b"
    assert "signature" not in resources(fhir_bundle(report(CERTIFIED), None))["Provenance"]


def test_a_report_that_follows_another_names_it() -> None:
    earlier = Predecessor(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid="2.25.7",
        series_instance_uid="2.25.8",
        study_instance_uid="1.2.3",
    )
    entities = resources(fhir_bundle(report(CERTIFIED, predecessor=earlier), source()))["Provenance"]["entity"]
    revised = [each["what"]["identifier"]["value"] for each in entities if each["role"] == "revision"]
    assert revised == ["urn:oid:2.25.7"]


def test_the_report_that_a_later_one_names_is_in_its_own_bundle() -> None:
    first, header = report(CERTIFIED), sample_reports.source()
    former = structured_report(first, header)
    earlier = Predecessor(
        sop_class_uid=former.SOPClassUID,
        sop_instance_uid=former.SOPInstanceUID,
        series_instance_uid=former.SeriesInstanceUID,
        study_instance_uid=former.StudyInstanceUID,
    )
    later = fhir_bundle(report(TARGET, certificate_sha256="cd" * 32, predecessor=earlier), header)
    (named,) = [each["what"] for each in resources(later)["Provenance"]["entity"] if each["role"] == "revision"]
    assert named["identifier"] in resources(fhir_bundle(first, header))[named["type"]]["identifier"]
    assert named["identifier"] not in resources(later)[named["type"]]["identifier"]


def test_words_in_the_narrative_are_escaped() -> None:
    made = report(CERTIFIED)
    named = replace(made, statement=replace(made.statement, scope_text="<b>&"))
    text = resources(fhir_bundle(named, None))["DiagnosticReport"]["text"]["div"]
    assert "&lt;b&gt;&amp;" in text
