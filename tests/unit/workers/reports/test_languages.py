"""Every report speaks the language that the operator chose."""

import json
import re
from dataclasses import replace
from string import Formatter
from typing import Any

import pytest

from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.report import Report
from certrad.workers.reports.secondary_capture import secondary_capture
from certrad.workers.reports.structured_report import structured_report
from certrad.workers.reports.texts import LANGUAGES, Texts, catalogue
from tests.support.report_pages import UNSURE, report, source

REPORTS = {"certified": report(), "abstained": report(UNSURE)}


def conclusion(shown: Report) -> Any:
    """The conclusion of the FHIR bundle."""
    resources = [entry["resource"] for entry in fhir_bundle(shown, source())["entry"]]
    (diagnostic_report,) = [each for each in resources if each["resourceType"] == "DiagnosticReport"]
    return diagnostic_report["conclusion"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_conclusion_of_a_certificate_has_class_radius_and_scope(language: str) -> None:
    shown, texts = replace(REPORTS["certified"], language=language), Texts(language)
    claim = shown.statement.claim
    assert conclusion(shown) == " ".join(
        (
            texts("conclusion.unverified"),
            texts("conclusion.class", class_name="pneumonia"),
            texts("conclusion.radius", radius=texts.number(claim.radius)),  # type: ignore[union-attr]
            texts("conclusion.correctness"),
            texts("conclusion.scope", scope=texts.scope(shown.statement)),
        )
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_conclusion_of_an_abstention_says_so(language: str) -> None:
    assert catalogue(language)["conclusion.abstained"] in conclusion(replace(REPORTS["abstained"], language=language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", REPORTS)
def test_series_have_a_description_in_the_language(outcome: str, language: str) -> None:
    shown = replace(REPORTS[outcome], language=language)
    made = (structured_report(shown, source()), secondary_capture(shown, source(), None))
    assert [dataset.SeriesDescription for dataset in made] == [
        catalogue(language)["series.structured_report"],
        catalogue(language)["series.secondary_capture"],
    ]


def texts_of(dataset: Any) -> list[str]:
    """The values of all text items of a structured report."""
    own = [str(dataset.TextValue)] if "TextValue" in dataset else []
    return own + [text for item in dataset.get("ContentSequence", []) for text in texts_of(item)]


@pytest.mark.parametrize("outcome", REPORTS)
def test_german_sentences_are_in_the_structured_report_and_the_bundle(outcome: str) -> None:
    shown = replace(REPORTS[outcome], language="de")
    german, english = Texts("de").stated_limits(shown.statement), set(shown.statement.limits)
    of_report = texts_of(structured_report(shown, source()))
    observation = next(
        entry["resource"]
        for entry in fhir_bundle(shown, source())["entry"]
        if entry["resource"]["resourceType"] == "Observation"
    )
    assert {*german} <= {*of_report}
    assert [note["text"] for note in observation["note"]] == german
    assert not english & {*of_report, *german}
    assert Texts("de").scope(shown.statement) in of_report


def english_sentences() -> dict[str, re.Pattern[str]]:
    """Returns patterns that find each sentence of the English catalogue, whatever stands in its gaps."""
    german, found = catalogue("de"), {}
    for key, text in catalogue("en").items():
        fixed = [literal for literal, *_ in Formatter().parse(text)]
        if text != german[key] and len("".join(fixed).split()) >= 4:
            found[key] = re.compile(".+".join(map(re.escape, fixed)))
    return found


@pytest.mark.parametrize("outcome", REPORTS)
@pytest.mark.parametrize("made", ["structured_report", "secondary_capture", "fhir"])
def test_german_report_has_no_english_sentence(made: str, outcome: str) -> None:
    shown = replace(REPORTS[outcome], language="de")
    said = {
        "structured_report": lambda: values_of(structured_report(shown, source())),
        "secondary_capture": lambda: values_of(secondary_capture(shown, source(), None)),
        "fhir": lambda: json.dumps(fhir_bundle(shown, source(PatientID="")), ensure_ascii=False, indent=0),
    }[made]()
    assert [key for key, sentence in english_sentences().items() if sentence.search(said)] == []


def values_of(dataset: Any) -> str:
    """The texts of all elements, each on a line."""
    return "\n".join(str(each.value) for each in dataset.iterall() if isinstance(each.value, str))


def test_limit_that_the_catalogue_lacks_stays_in_english() -> None:
    statement = replace(REPORTS["certified"].statement, limits=("A limit of a later release.",))
    assert Texts("de").stated_limits(statement) == ["A limit of a later release."]


def test_structured_report_in_another_language_is_another_instance_and_the_page_refers_to_it() -> None:
    instances = set()
    for language in LANGUAGES:
        shown = replace(REPORTS["certified"], language=language)
        made = structured_report(shown, source())
        (reference,) = secondary_capture(shown, source(), None).ReferencedInstanceSequence
        assert reference.ReferencedSOPInstanceUID == made.SOPInstanceUID
        instances.add(made.SOPInstanceUID)
    assert len(instances) == len(LANGUAGES)
