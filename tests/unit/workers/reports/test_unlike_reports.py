"""Reports about the extra class name no class, code it as itself alone, and never call an abstention unlike."""

import json
from typing import Final

import pytest

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.types.code import Code
from certrad.models.types.rejection import UNLIKE
from certrad.workers.reports import codes
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.layout import ACCENT
from certrad.workers.reports.page import page_layout
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import LANGUAGES, catalogue
from tests.support import sample_reports
from tests.support.certificates import genuine
from tests.unit.models.certificates.test_unlike_in_document import ABSTAINED, KNOWN, STRANGE
from tests.unit.workers.reports.test_fhir import report

CODE: Final = codes.UNLIKE_TRAINING.value


def strange(**changes: object) -> Report:
    return sample_reports.certified(read(parse(genuine(STRANGE))), **changes)


def elements(bundle: dict[str, object], kind: str) -> dict[str, object]:
    text: dict[str, object] = next(
        entry["resource"]
        for entry in json.loads(json.dumps(bundle))["entry"]
        if entry["resource"]["resourceType"] == kind
    )
    return text


def test_its_concept_is_its_own_whatever_codes_a_task_lists() -> None:
    known = Code(value="1", scheme="SCT", meaning="a finding")
    assert codes.finding(UNLIKE, {UNLIKE: known}) == codes.UNLIKE_TRAINING
    assert codes.finding("class 0", {"class 0": known}) == known
    assert CODE not in {concept.value for concept in codes.ABSTENTION_REASONS.values()}


def test_the_structured_report_has_the_concept_as_its_finding_and_a_radius() -> None:
    content = sample_reports.written_report(strange())
    group = sample_reports.group_of(content)
    assert group.finding_type.value == CODE
    assert codes.RADIUS.value in sample_reports.private_items(content)


def test_the_bundle_has_no_conclusion_code_and_names_no_class() -> None:
    made = fhir_bundle(strange(), source=None)
    diagnostic = elements(made, "DiagnosticReport")
    assert "conclusionCode" not in diagnostic
    assert "unlike the images this model was tuned on" in str(diagnostic["conclusion"])
    assert "Certified class" not in str(diagnostic["conclusion"])
    value = elements(made, "Observation")["valueCodeableConcept"]
    assert CODE in json.dumps(value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_it_without_the_colour_of_a_class(language: str) -> None:
    layout = page_layout(strange(language=language), None)
    said = " ".join(line for text in layout.texts for line in text.lines)
    texts = catalogue(language)
    assert texts["certified.unlike"] in said
    assert texts["certified.class"] not in [line for text in layout.texts for line in text.lines]
    assert ACCENT not in {text.colour for text in layout.texts}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_about_an_abstention_calls_it_unlike(language: str) -> None:
    words = {"en": "unlike", "de": "unähnlich"}[language]
    of_abstentions = {key: text for key, text in catalogue(language).items() if "abst" in key}
    assert not [key for key, text in of_abstentions.items() if words in text.lower()]
    layout = page_layout(report(ABSTAINED, language=language), None)
    assert not [line for text in layout.texts for line in text.lines if words in line.lower()]


def test_a_known_class_beside_an_extra_one_is_reported_as_before() -> None:
    made = fhir_bundle(sample_reports.certified(read(parse(genuine(KNOWN)))), source=None)
    diagnostic = elements(made, "DiagnosticReport")
    assert "conclusionCode" in diagnostic
    assert "Certified class: class 0." in str(diagnostic["conclusion"])
