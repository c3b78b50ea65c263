"""Every report states the claims beside the radius in the words of the document, and never more than was shown."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from fhir.resources.R4B.bundle import Bundle

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.statement import Statement
from certrad.models.types import SmoothingParams
from certrad.models.types.variant_lists import Shifts
from certrad.models.types.variants import VariantsRequest
from certrad.workers.reports import codes
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.further_claims import FurtherClaim, further_claims
from certrad.workers.reports.layout import AMBER
from certrad.workers.reports.page import page_layout
from certrad.workers.reports.prediction_set import english_set_claim
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import LANGUAGES, Texts
from tests.support.certificates import PARAMETER_SIGMA, Case, genuine
from tests.support.dicom_validators import dciodvfy_errors
from tests.support.prediction_sets import genuine_set, installed
from tests.support.sample_reports import private_items, written_report

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
SHOWN: Final = Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, parameter_sigma=PARAMETER_SIGMA)
SET_PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=120, alpha=0.01)
SINGLE: Final = Case(probabilities=(0.97, 0.02, 0.01), params=SET_PARAMS)
EMPTY: Final = Case(probabilities=(0.35, 0.35, 0.3), params=SET_PARAMS)
CASES: Final = {
    "WINDOW-SHOWN": SHOWN,
    "WINDOW-NOT-SHOWN": replace(SHOWN, window_probabilities=(0.3, 0.4, 0.3)),
    "WINDOW-NONE": replace(SHOWN, probabilities=(0.4, 0.3, 0.3)),
}
"""Code of the outcome -> a document that has it."""


def report(code: str, language: str = "en") -> Report:
    statement = read(parse(genuine(CASES[code])))
    label = getattr(statement.claim, "label", None)
    return Report(
        statement=statement,
        certificate_sha256="0123456789abcdef" * 4,
        finding=None if label is None else codes.finding(label, {}),
        issued_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        software_version="0.2.0",
        language=language,
    )


def claim_of(shown: Report) -> FurtherClaim:
    (claim,) = further_claims(shown.statement, Texts(shown.language))
    return claim


def resource(shown: Report, kind: str) -> dict[str, Any]:
    bundle = fhir_bundle(shown, None)
    Bundle.model_validate_json(json.dumps(bundle, allow_nan=False))
    (found,) = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]
    return dict(found)


@pytest.mark.parametrize("code", CASES)
def test_fhir_states_outcome_and_words_of_the_document(code: str) -> None:
    shown = report(code)
    assert shown.statement.parameters is not None
    parts = {part["code"]["coding"][0]["code"]: part for part in resource(shown, "Observation")["component"]}
    concept = parts["WINDOW-NOISE"]["valueCodeableConcept"]
    assert (concept["coding"][0]["code"], concept["text"]) == (code, shown.statement.parameters.text)


@pytest.mark.parametrize("code", CASES)
def test_structured_report_states_outcome_and_words_of_the_document(code: str, tmp_path: Path) -> None:
    shown = report(code)
    assert shown.statement.parameters is not None
    content = written_report(shown)
    written = private_items(content)
    assert (written["WINDOW-NOISE"], written["WINDOW-TEXT"]) == ([code], [shown.statement.parameters.text])
    assert dciodvfy_errors(content, tmp_path) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", CASES)
def test_page_and_conclusion_have_a_line_that_warns_where_nothing_was_shown(code: str, language: str) -> None:
    shown = report(code, language)
    line = claim_of(shown).line
    assert line in resource(shown, "DiagnosticReport")["conclusion"]
    (colour,) = [text.colour for text in page_layout(shown, None).texts if text.text == line]
    assert (colour == AMBER) == (code == "WINDOW-NOT-SHOWN")


BARE: Final = Case(
    probabilities=(0.99, 0.005, 0.005),
    params=PARAMS,
    variants=VariantsRequest(lists=(Shifts(pixels=1),), n=1, base="unsmoothed"),
)
WITHOUT_NOISE: Final = {
    "UNSMOOTHED-SAME": BARE,
    "UNSMOOTHED-OTHER": replace(BARE, failing=5),
    "UNSMOOTHED-NONE": replace(BARE, probabilities=(0.4, 0.3, 0.3)),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", WITHOUT_NOISE)
def test_answers_without_noise_are_never_stated_as_a_proof(code: str, language: str) -> None:
    statement = read(parse(genuine(WITHOUT_NOISE[code])))
    shown = replace(report("WINDOW-NONE", language), statement=statement, finding=finding_of(statement))
    assert statement.unsmoothed is not None
    parts = {part["code"]["coding"][0]["code"]: part for part in resource(shown, "Observation")["component"]}
    concept = parts["UNSMOOTHED"]["valueCodeableConcept"]
    assert (concept["coding"][0]["code"], concept["text"]) == (code, statement.unsmoothed.text)
    written = private_items(written_report(shown))
    assert (written["UNSMOOTHED"], written["UNSMOOTHED-TEXT"]) == ([code], [statement.unsmoothed.text])
    assert {name for name in (*parts, *written) if name.startswith("VARIANTS")} == set()
    line = claim_of(shown).line
    (colour,) = [text.colour for text in page_layout(shown, None).texts if text.text == line]
    assert (colour == AMBER) == (code == "UNSMOOTHED-OTHER")
    assert ("proof" in line or "Beweis" in line) == (code == "UNSMOOTHED-SAME")


SETS: Final = {"SET-LISTED": SINGLE, "SET-EMPTY": EMPTY}


def of_set(code: str, language: str = "en") -> Report:
    statement = read(parse(genuine_set(SETS[code], installed(SETS[code]))))
    return replace(report("WINDOW-NONE", language), statement=statement, finding=finding_of(statement))


def finding_of(statement: Statement) -> codes.Code | None:
    label = getattr(statement.claim, "label", None)
    return None if label is None else codes.finding(label, {})


@pytest.mark.parametrize("code", SETS)
def test_prediction_set_is_stated_in_the_words_of_the_document(code: str, tmp_path: Path) -> None:
    shown = of_set(code)
    stated = shown.statement.prediction_set
    assert stated is not None
    assert english_set_claim(stated, shown.statement) == stated.text
    parts = {part["code"]["coding"][0]["code"]: part for part in resource(shown, "Observation")["component"]}
    concept = parts["PRED-SET"]["valueCodeableConcept"]
    assert (concept["coding"][0]["code"], concept["text"]) == (code, stated.text)
    content = written_report(shown)
    written = private_items(content)
    names = "class 0" if code == "SET-LISTED" else "no class (unlike the calibration images)"
    assert (written["PRED-SET"], written["SET-TEXT"], written["SET-CLASSES"]) == ([code], [stated.text], [names])
    assert parts["SET-CLASSES"]["valueString"] == names
    assert dciodvfy_errors(content, tmp_path) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", SETS)
def test_list_of_classes_is_said_to_be_no_certified_class(code: str, language: str) -> None:
    shown = of_set(code, language)
    claim = claim_of(shown)
    assert claim.line in resource(shown, "DiagnosticReport")["conclusion"]
    assert claim.line in [text.text for text in page_layout(shown, None).texts]
    assert claim.line.endswith(("It is no certified class.", "Sie ist keine zertifizierte Klasse."))
    assert (claim.text == claim_of(of_set(code)).text) == (language == "en")


def test_certificate_without_such_a_claim_says_nothing_about_it() -> None:
    statement = read(parse(genuine(replace(SHOWN, parameter_sigma=None))))
    assert list(further_claims(statement, Texts("en"))) == []
