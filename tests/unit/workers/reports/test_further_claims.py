"""Every report states the claims beside the radius in the words of the document, and never more than was shown."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from fhir.resources.R4B.bundle import Bundle

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.types import SmoothingParams
from certrad.workers.reports import codes
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.further_claims import FurtherClaim, further_claims
from certrad.workers.reports.layout import AMBER
from certrad.workers.reports.page import page_layout
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import LANGUAGES, Texts
from tests.support.certificates import PARAMETER_SIGMA, Case, genuine
from tests.support.dicom_validators import dciodvfy_errors
from tests.support.sample_reports import private_items, written_report

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
SHOWN: Final = Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, parameter_sigma=PARAMETER_SIGMA)
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


def test_certificate_without_such_a_claim_says_nothing_about_it() -> None:
    statement = read(parse(genuine(replace(SHOWN, parameter_sigma=None))))
    assert list(further_claims(statement, Texts("en"))) == []
