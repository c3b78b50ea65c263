"""A structured report states a certificate exactly, as highdicom reads it back, and nothing that it must not say."""

import io
from dataclasses import replace
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pydicom
import pytest
from pydicom.dataset import Dataset

from certrad.models.certificates.document import state
from certrad.models.certificates.statement import StatedCertificate
from certrad.models.types import Decision, Rule, Scope
from certrad.models.types.code import Code
from certrad.models.types.image import IMAGE_WARNINGS, ImageRadius, NoImageRadius
from certrad.workers.reports import codes
from certrad.workers.reports.report import Predecessor, Report
from certrad.workers.reports.source import read_source
from certrad.workers.reports.structured_report import dicom_file, structured_report
from certrad.workers.reports.texts import catalogue
from tests.support.certificates import ADAPTER, ADAPTER_SHA256
from tests.support.dicom_samples import OUTCOMES, WITHOUT_UIDS, samples
from tests.support.dicom_validators import dciodvfy_errors
from tests.support.document_facts import facts
from tests.support.sample_reports import (
    ALPHABETS,
    DIGEST,
    UIDS,
    abstained,
    certified,
    group_of,
    private_items,
    written_report,
)

STATEMENT = state(facts())
MULTI_FRAME_CLASS = "1.2.840.10008.5.1.4.1.1.7.2"
CHARSET_FILES = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("chr[A-RX]*.dcm"))
REPORTS = {"certified": certified(), "abstained": abstained()}
FAR_BELOW = StatedCertificate(
    outcome="certified",
    class_index=0,
    label="a",
    radius=0.31819999,
    p_a_lower=0.8999999999,
    p_b_upper=0.1000000001,
)


@cache
def plain(outcome: str) -> bytes:
    """The file of a report, made once."""
    return written_report(REPORTS[outcome])


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def items(content: bytes) -> list[Dataset]:
    """The items of the measurement group, as they are in the file."""
    return list(read(content).ContentSequence[-1].ContentSequence[0].ContentSequence)


def concept(item: Dataset) -> tuple[str, str]:
    name = item.ConceptNameCodeSequence[0]
    return name.CodeValue, name.CodingSchemeDesignator


def numbers(content: bytes) -> dict[str, Dataset]:
    return {concept(item)[0]: item.MeasuredValueSequence[0] for item in items(content) if item.ValueType == "NUM"}


def images(content: bytes) -> list[Dataset]:
    return [item for item in items(content) if item.ValueType == "IMAGE"]


# -- a certified class -------------------------------------------------------------------------------------------------
def test_numbers_of_a_certified_class_are_read_back_exactly() -> None:
    read_back = private_items(plain("certified"))
    assert {name: read_back[name] for name in numbers(plain("certified"))} == {
        "CERT-L2-RADIUS": [0.3181],
        "PA-LOWER": [0.9],
        "PB-UPPER": [0.1],
        "SMOOTH-SIGMA": [0.25],
        "ALPHA": [0.001],
        "N-CERT": [100],
        "N-SELECT": [20],
        "N-USED": [120],
    }


def test_bounds_are_rounded_against_the_claim() -> None:
    statement = replace(STATEMENT, claim=FAR_BELOW)
    read_back = private_items(written_report(certified(statement)))
    assert (read_back["CERT-L2-RADIUS"], read_back["PA-LOWER"], read_back["PB-UPPER"]) == (
        [0.318199],
        [0.899999],
        [0.100001],
    )


@pytest.mark.parametrize("claim", [STATEMENT.claim, FAR_BELOW])
def test_text_and_floating_point_value_of_a_bound_are_equal(claim: StatedCertificate) -> None:
    written = numbers(written_report(certified(replace(STATEMENT, claim=claim))))
    for name in ("CERT-L2-RADIUS", "PA-LOWER", "PB-UPPER"):
        assert float(written[name].NumericValue) == written[name].FloatingPointValue


def test_numbers_of_samples_are_written_as_integers() -> None:
    assert str(numbers(plain("certified"))["N-CERT"].NumericValue) == "100"


def test_a_sigma_of_many_digits_fits_a_decimal_string() -> None:
    params = replace(STATEMENT.params, sigma=0.1234567890123456789, alpha=1e-6)
    written = numbers(written_report(certified(replace(STATEMENT, params=params))))
    assert str(written["SMOOTH-SIGMA"].NumericValue) == "0.12345678901235"
    assert str(written["ALPHA"].NumericValue) == "0.000001"


def test_the_finding_is_the_certified_class() -> None:
    report = replace(certified(), finding=Code(value="233604007", scheme="SCT", meaning="Pneumonia"))
    found = group_of(written_report(report)).finding_type
    assert (found.value, found.scheme_designator, found.meaning) == ("233604007", "SCT", "Pneumonia")


def test_a_certified_class_has_its_outcome() -> None:
    assert private_items(plain("certified"))["CERT-OUTCOME"] == ["CERTIFIED"]


@pytest.mark.parametrize(("reached", "outcome"), [(True, ["TARGET-REACHED"]), (False, ["TARGET-MISSED"]), (None, None)])
def test_a_target_radius_has_its_outcome(reached: bool | None, outcome: list[str] | None) -> None:
    claim = replace(FAR_BELOW, target_reached=reached)
    assert private_items(written_report(certified(replace(STATEMENT, claim=claim)))).get("TARGET-OUTCOME") == outcome


def test_a_target_radius_is_stated() -> None:
    params = replace(STATEMENT.params, target_radius=0.25)
    assert private_items(written_report(certified(replace(STATEMENT, params=params))))["TARGET-RADIUS"] == [0.25]


def test_the_radius_in_image_units_is_a_sentence() -> None:
    assert isinstance(STATEMENT.radius_in_image_units, ImageRadius)
    (sentence,) = private_items(plain("certified"))["RADIUS-IN-IMAGE"]
    assert sentence.startswith(
        f"The radius covers every change of the image whose L2 norm is below {STATEMENT.radius_in_image_units.l2} HU: "
    )


def test_a_radius_without_image_units_says_why() -> None:
    statement = replace(STATEMENT, radius_in_image_units=NoImageRadius(reason=catalogue("en")["no_image_radius.flat"]))
    assert private_items(written_report(certified(statement)))["RADIUS-IN-IMAGE"] == [
        f"There is no radius in the units of the image: {catalogue('en')['no_image_radius.flat']}."
    ]


# -- an abstention -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("reason", "code"), codes.ABSTENTION_REASONS.items())
def test_an_abstention_has_one_code_for_its_reason(reason: str, code: Code) -> None:
    read_back = private_items(written_report(abstained(reason)))
    assert (read_back["CERT-OUTCOME"], read_back["ABSTAIN-REASON"]) == (["ABSTAINED"], [code.value])


def test_an_abstention_has_no_number_of_a_result() -> None:
    read_back = private_items(plain("abstained"))
    assert {"CERT-L2-RADIUS", "PA-LOWER", "PB-UPPER", "RADIUS-IN-IMAGE"} & set(read_back) == set()


def test_an_abstention_has_no_finding() -> None:
    assert group_of(plain("abstained")).finding_type is None


def test_an_abstention_names_no_class() -> None:
    assert not [name for name in STATEMENT.classifier.class_names if f"'{name}'" in str(read(plain("abstained")))]


def test_an_abstention_has_no_empty_number() -> None:
    written = numbers(plain("abstained"))
    assert set(written) == {"SMOOTH-SIGMA", "ALPHA", "N-CERT", "N-SELECT", "N-USED"}
    assert all(value.NumericValue > 0 for value in written.values())


# -- both --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("outcome", REPORTS)
def test_the_certificate_is_named_as_text_and_as_a_parameter_of_the_algorithm(outcome: str) -> None:
    content = plain(outcome)
    parameters = [item.TextValue for item in items(content) if concept(item) == ("111002", "DCM")]
    assert private_items(content)["CERT-SHA256"] == [DIGEST]
    assert f"certificate SHA-256: {DIGEST}" in parameters


def test_adapter_of_the_encoder_is_a_parameter_of_the_algorithm() -> None:
    def parameters(adapter: str | None) -> list[str]:
        content = written_report(certified(state(facts(adapter=adapter))))
        return [item.TextValue for item in items(content) if concept(item) == ("111002", "DCM")]

    (named,) = set(parameters(ADAPTER)) - set(parameters(None))
    assert named.startswith(f"adapter: {ADAPTER}, SHA-256 {ADAPTER_SHA256}")


def test_noise_on_the_image_has_codes_of_its_own_and_says_its_shape() -> None:
    read_back = private_items(written_report(certified(state(facts(noise_space="image")))))
    assert {"CERT-L2-RENDERED", "RENDERED-SIGMA"} <= read_back.keys()
    assert not {"CERT-L2-RADIUS", "SMOOTH-SIGMA"} & read_back.keys()
    assert read_back["INPUT-SPACE"] == [
        "Rendered image of 1 x 512 x 512 values in [0, 1], after decoding and before resizing the image."
    ]


@pytest.mark.parametrize("outcome", REPORTS)
def test_scope_limits_and_input_space_are_stated(outcome: str) -> None:
    report, read_back = REPORTS[outcome], private_items(plain(outcome))
    assert read_back["CERT-SCOPE"] == ["INPUT-INDEPEND"]
    assert read_back["SCOPE-TEXT"] == [report.statement.scope_text]
    assert read_back["CERT-LIMITS"] == list(report.statement.limits)
    assert read_back["INPUT-SPACE"] == [
        "Model input of 3 x 64 x 64 values in [0, 1], after decoding and resizing the image."
    ]


@pytest.mark.parametrize("scope", get_args(Scope))
def test_every_scope_has_a_code(scope: Scope) -> None:
    read_back = private_items(written_report(certified(replace(STATEMENT, scope=scope))))
    assert read_back["CERT-SCOPE"] == [codes.SCOPES[scope].value]


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_rule_has_a_method(rule: Rule) -> None:
    report = certified(replace(STATEMENT, decision=replace(Decision(), rule=rule)))
    assert group_of(written_report(report)).method.value == codes.METHODS[rule].value


def test_the_method_modifies_the_group_as_the_template_demands() -> None:
    (method,) = [item for item in items(plain("certified")) if concept(item) == ("370129005", "SCT")]
    assert method.RelationshipType == "HAS CONCEPT MOD"


@pytest.mark.parametrize("warning", [*IMAGE_WARNINGS, "burned_in_annotation"])
def test_every_warning_has_a_code(warning: str) -> None:
    read_back = private_items(written_report(certified(warnings=(warning,))))
    assert read_back["CERT-WARNING"] == [codes.WARNINGS[warning].value]


def test_the_report_is_complete_preliminary_and_unverified() -> None:
    document = read(plain("certified"))
    assert (document.CompletionFlag, document.PreliminaryFlag, document.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )


def test_the_source_image_is_the_source_of_the_measurement() -> None:
    (image,) = images(plain("certified"))  # highdicom 0.28.2 changed the code of the purpose
    reference = image.ReferencedSOPSequence[0]
    assert concept(image) == ("121112", "DCM")
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
        UIDS["SOPClassUID"],
        UIDS["SOPInstanceUID"],
    )


@pytest.mark.parametrize(
    ("sop_class", "frame", "referenced"),
    [(MULTI_FRAME_CLASS, 3, 3), (MULTI_FRAME_CLASS, None, None), (UIDS["SOPClassUID"], 3, None)],
)
def test_a_frame_is_referenced_in_multi_frame_classes_only(
    sop_class: str, frame: int | None, referenced: int | None
) -> None:
    (image,) = images(written_report(certified(frame=frame), SOPClassUID=sop_class))
    assert image.ReferencedSOPSequence[0].get("ReferencedFrameNumber") == referenced


def test_the_tracking_identifier_names_the_frame_in_every_class() -> None:
    identifier = group_of(written_report(certified(frame=3))).tracking_identifier
    assert identifier == "certrad 0123456789abcdef, frame 3"


def test_an_image_of_a_private_class_gets_a_report() -> None:
    (image,) = images(written_report(certified(), SOPClassUID="1.2.3.4.5.6"))
    assert image.ReferencedSOPSequence[0].ReferencedSOPClassUID == "1.2.3.4.5.6"


def test_the_private_scheme_is_identified() -> None:
    (scheme,) = read(plain("certified")).CodingSchemeIdentificationSequence
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeUID) == ("99CERTRAD", codes.SCHEME_UID)


def test_no_code_is_written_as_a_long_one() -> None:
    assert "Long Code Value" not in str(read(plain("certified")))


def test_the_report_lies_in_the_study_of_the_image() -> None:
    assert read(plain("certified")).StudyInstanceUID == UIDS["StudyInstanceUID"]


def test_the_demographics_of_the_patient_are_copied() -> None:
    demographics = {
        "PatientName": "Müller^Jürgen",
        "PatientID": "4711",
        "PatientBirthDate": "19501231",
        "PatientSex": "M",
        "StudyDate": "20261130",
        "StudyTime": "101500",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Weiß^Eva",
        "IssuerOfPatientID": "Hospital",
        "PatientAge": "075Y",
        "StudyDescription": "Thorax",
    }
    document = read(written_report(certified(), SpecificCharacterSet="ISO_IR 100", **demographics))
    assert {keyword: str(document[keyword].value) for keyword in demographics} == demographics


def test_nothing_else_of_the_patient_is_copied() -> None:
    canaries = {
        keyword: f"CANARY {number}"
        for number, keyword in enumerate(
            ("InstitutionName", "OperatorsName", "PatientComments", "ImageComments", "PatientAddress", "StationName")
        )
    }
    assert "CANARY" not in str(read(written_report(certified(), **canaries)))


# -- times -------------------------------------------------------------------------------------------------------------
def times(content: bytes) -> tuple[str, ...]:
    document = read(content)
    return document.ContentDate, document.ContentTime, document.TimezoneOffsetFromUTC


def test_the_time_is_the_one_of_the_first_report_with_its_zone() -> None:
    assert times(plain("certified")) == ("20261130", "140506", "+0100")


def test_the_time_is_in_the_zone_of_the_image() -> None:
    assert times(written_report(certified(), TimezoneOffsetFromUTC="-1100")) == ("20261130", "020506", "-1100")


def test_a_time_in_utc_has_a_zone() -> None:
    report = certified(issued_at=certified().issued_at.astimezone(UTC))
    assert times(written_report(report)) == ("20261130", "130506", "+0000")


# -- identity ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_same_report_has_the_same_bytes(report: Report) -> None:
    assert written_report(report) == written_report(report)


@pytest.mark.parametrize(
    ("changes", "elements"),
    [
        ({"certificate_sha256": "ab" * 32}, {}),
        ({"frame": 2}, {}),
        ({}, {"SOPInstanceUID": "1.2.3.44"}),
    ],
)
def test_another_certificate_frame_or_image_is_another_instance(
    changes: dict[str, Any], elements: dict[str, Any]
) -> None:
    first, other = read(plain("certified")), read(written_report(certified(**changes), **elements))
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID == other.SeriesInstanceUID


def test_another_study_is_another_series() -> None:
    reports = [read(written_report(certified(), StudyInstanceUID=study)) for study in ("1.2.3.5", "1.2.3.55")]
    assert reports[0].SeriesInstanceUID != reports[1].SeriesInstanceUID


@pytest.mark.parametrize(
    "changes", [{"backbone_sha256": "ab" * 32}, {"prompt_sha256": "ab" * 32}, {"class_names": ("a", "b")}]
)
def test_another_classifier_is_another_series(changes: dict[str, Any]) -> None:
    statement = replace(STATEMENT, classifier=replace(STATEMENT.classifier, **changes))
    reports = [read(written_report(certified(stated))) for stated in (STATEMENT, statement)]
    assert reports[0].SeriesInstanceUID != reports[1].SeriesInstanceUID


def test_uids_are_uuids_under_2_25() -> None:
    document = read(plain("certified"))
    for uid in (document.SOPInstanceUID, document.SeriesInstanceUID):
        assert uid.is_valid
        assert uid.startswith("2.25.")


def test_a_later_report_names_its_predecessor() -> None:
    predecessor = Predecessor(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        study_instance_uid=UIDS["StudyInstanceUID"],
    )
    (study,) = read(written_report(certified(predecessor=predecessor))).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID, instance.ReferencedSOPInstanceUID) == (
        UIDS["StudyInstanceUID"],
        "2.25.2",
        "2.25.1",
    )


def test_a_first_report_has_no_predecessor() -> None:
    assert "PredecessorDocumentsSequence" not in read(plain("certified"))


# -- validators --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda path: path.name)
def test_dciodvfy_finds_no_error_for_the_charset_files(path: Path, report: Report, tmp_path: Path) -> None:
    content = dicom_file(structured_report(report, read_source(path.read_bytes())))
    assert dciodvfy_errors(content, tmp_path) == []


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("character_set", ALPHABETS)
def test_dciodvfy_finds_no_error_in_ten_character_sets(character_set: str, report: Report, tmp_path: Path) -> None:
    name = ALPHABETS[character_set]
    content = written_report(report, SpecificCharacterSet=character_set, PatientName=name)
    assert dciodvfy_errors(content, tmp_path) == []
    assert str(read(content).PatientName) == name


@pytest.mark.parametrize("changes", [{"frame": 2}, {"warnings": ("low_contrast", "burned_in_annotation")}])
def test_dciodvfy_finds_no_error_in_a_multi_frame_image(changes: dict[str, Any], tmp_path: Path) -> None:
    content = written_report(certified(**changes), SOPClassUID=MULTI_FRAME_CLASS)
    assert dciodvfy_errors(content, tmp_path) == []


def test_dciodvfy_finds_an_error_in_a_damaged_report(tmp_path: Path) -> None:
    document = read(plain("certified"))
    del document.CompletionFlag
    assert dciodvfy_errors(dicom_file(document), tmp_path) != []


def test_every_class_of_image_gets_a_report(tmp_path: Path) -> None:
    headers: dict[str, Dataset] = {}
    for name, outcome in OUTCOMES.items():
        if outcome.startswith("ok") and name not in WITHOUT_UIDS:
            header = read_source(samples()[name].read_bytes())
            headers.setdefault(header.SOPClassUID, header)
    errors = {
        uid: dciodvfy_errors(dicom_file(structured_report(REPORTS["abstained"], header)), tmp_path)
        for uid, header in headers.items()
    }
    assert len(errors) > 5
    assert {uid: said for uid, said in errors.items() if said} == {}
