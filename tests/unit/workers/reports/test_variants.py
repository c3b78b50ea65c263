"""Reports say what a certificate says about other renderings, in its words, and never more than was shown."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from fhir.resources.R4B.bundle import Bundle

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.stated_samples import StatedVariants
from certrad.models.certificates.variants import describe
from certrad.models.types import SmoothingParams
from certrad.models.types.applied_window import FullRange
from certrad.models.types.variant_lists import Shifts
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window_boxes import WindowBox
from certrad.workers.reports import codes, variant_codes
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.layout import AMBER
from certrad.workers.reports.page import page_layout
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import LANGUAGES, Language, Texts
from certrad.workers.reports.variants import claim_text, english_claim, least_text, rendering_text, short_text
from tests.support.certificates import VARIANTS, Case, genuine
from tests.support.dicom_validators import dciodvfy_errors
from tests.support.sample_reports import private_items, written_report

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
HELD: Final = Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, variants=VARIANTS)
BOX: Final = VariantsRequest(lists=(WindowBox(centre=7.0, width=1.02), Shifts(pixels=1)), n=40, radius=0.05)
CASES: Final = {
    "held": HELD,
    "held for a box": replace(HELD, variants=BOX),
    "held for a box of grey levels": replace(HELD, variants=BOX, window=FullRange()),
    "failed in a box": replace(HELD, variants=BOX, failing=2),
    "failed": replace(HELD, failing=3),
    "failed without a radius": replace(HELD, failing=3, variants=replace(VARIANTS, radius=0.0)),
    "nothing but invalid": replace(HELD, probabilities=(0.99, 0.0), failing=3),
    "abstained": Case(probabilities=(0.4, 0.3, 0.3), params=PARAMS, variants=VARIANTS),
}
"""Every kind of answer; `failing` is the window of centre 300.5."""


def report(name: str, language: str = "en", case: Case | None = None) -> Report:
    statement = read(parse(genuine(case or CASES[name])))
    label = getattr(statement.claim, "label", None)
    return Report(
        statement=statement,
        certificate_sha256="0123456789abcdef" * 4,
        finding=None if label is None else codes.finding(label, {}),
        issued_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        software_version="0.2.0",
        language=language,
    )


def variants_of(shown: Report) -> StatedVariants:
    assert shown.statement.variants is not None
    return shown.statement.variants


def observation(shown: Report) -> dict[str, Any]:
    """Code -> component of the FHIR Observation."""
    bundle = fhir_bundle(shown, None)
    Bundle.model_validate_json(json.dumps(bundle, allow_nan=False))
    (found,) = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Observation"]
    return {part["code"]["coding"][0]["code"]: part for part in found["component"]}


def conclusion(shown: Report) -> str:
    (found,) = [
        entry["resource"]
        for entry in fhir_bundle(shown, None)["entry"]
        if entry["resource"]["resourceType"] == "DiagnosticReport"
    ]
    return str(found["conclusion"])


def page_texts(shown: Report) -> list[str]:
    return [text.text for text in page_layout(shown, None).texts]


@pytest.mark.parametrize("name", CASES)
def test_english_catalogue_has_the_words_of_the_document(name: str) -> None:
    shown = report(name)
    stated = variants_of(shown)
    assert english_claim(stated, shown.statement) == stated.text
    assert [rendering_text(row.rendering, Texts("en")) for row in stated.rows] == [
        describe(row.rendering) for row in stated.rows
    ]


@pytest.mark.parametrize("name", CASES)
def test_words_that_the_catalogue_lacks_stay_as_they_were_signed(name: str) -> None:
    shown = report(name)
    later = replace(variants_of(shown), text="Words of a later release.")
    assert claim_text(later, shown.statement, Texts("de")) == "Words of a later release."


@pytest.mark.parametrize("name", CASES)
def test_fhir_states_the_claim_in_the_words_of_the_document(name: str) -> None:
    shown = report(name)
    stated, parts = variants_of(shown), observation(shown)
    outcome = parts["VARIANTS"]["valueCodeableConcept"]
    held = {True: "VARIANTS-HELD", False: "VARIANTS-FAILED", None: "VARIANTS-NONE"}[stated.held]
    assert (outcome["coding"][0]["code"], outcome["text"]) == (held, stated.text)


@pytest.mark.parametrize("name", CASES)
def test_radius_of_all_renderings_is_stated_only_where_all_of_them_held(name: str) -> None:
    """Also not one that is smaller than was asked for: a number beside a failed claim would be read as a result."""
    case = replace(HELD, variants=replace(VARIANTS, radius=0.75, n=60)) if name == "failed" else None
    shown = report(name, case=case)
    stated, parts = variants_of(shown), observation(shown)
    if case is not None:
        assert (stated.held, stated.radius > 0) == (False, True)
    written = private_items(written_report(shown))
    if stated.held:
        quantity = parts["VARIANTS-RADIUS"]["valueQuantity"]
        assert (quantity["value"], quantity["comparator"]) == (stated.radius, ">=")
        assert written["VARIANTS-RADIUS"] == [stated.radius]
    else:
        assert parts["VARIANTS-RADIUS"]["dataAbsentReason"]["coding"][0]["code"] == "not-applicable"
        assert "VARIANTS-RADIUS" not in written


@pytest.mark.parametrize("name", CASES)
def test_structured_report_states_the_claim_in_the_words_of_the_document(name: str) -> None:
    shown = report(name)
    stated, written = variants_of(shown), private_items(written_report(shown))
    assert written["VARIANTS"] == [variant_codes.variants_outcome(held=stated.held).value]
    assert written["VARIANTS-TEXT"] == [stated.text]
    assert written.get("VARIANTS-TRIED") == ([len(stated.rows)] if stated.rows else None)
    assert written.get("VARIANTS-ASKED") == ([stated.asked_radius] if stated.asked_radius else None)


def test_counterexample_is_named_with_its_samples_wherever_the_claim_failed() -> None:
    shown = report("failed")
    named = (
        "window of centre 300.5, width 1500: 0 of 40 samples have the class, and the most frequent answer is class 2"
    )
    assert observation(shown)["VARIANTS-LEAST"]["valueString"] == named
    assert private_items(written_report(shown))["VARIANTS-LEAST"] == [named]
    assert f"Least: {named}." in conclusion(shown)
    (line,) = [text for text in page_texts(shown) if named in text]
    assert line.startswith("Other renderings of the file: the class was NOT shown with a radius of 0.125 for all 27")


@pytest.mark.parametrize("name", ["held", "abstained"])
def test_there_is_no_counterexample_where_nothing_failed(name: str) -> None:
    shown = report(name)
    assert "VARIANTS-LEAST" not in {**observation(shown), **private_items(written_report(shown))}
    with pytest.raises(ValueError, match="none that shows least"):
        least_text(variants_of(shown), shown.statement, Texts("en"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_page_and_conclusion_have_the_short_line_in_the_language(name: str, language: Language) -> None:
    shown = report(name, language)
    line = short_text(variants_of(shown), shown.statement, Texts(language))
    assert line in conclusion(shown)
    assert line in page_texts(shown)


@pytest.mark.parametrize("name", CASES)
def test_page_warns_in_amber_only_where_the_claim_failed(name: str) -> None:
    shown = report(name)
    line = short_text(variants_of(shown), shown.statement, Texts("en"))
    (colour,) = [text.colour for text in page_layout(shown, None).texts if text.text == line]
    assert (colour == AMBER) == name.startswith(("failed", "nothing"))


def test_abstention_shows_no_number_about_other_renderings() -> None:
    shown = report("abstained")
    assert {"VARIANTS-TRIED", "VARIANTS-LEAST"} & {*observation(shown), *private_items(written_report(shown))} == set()


@pytest.mark.parametrize("name", CASES)
def test_german_report_translates_claim_and_renderings(name: str) -> None:
    shown = report(name, "de")
    stated, texts = variants_of(shown), Texts("de")
    claim = claim_text(stated, shown.statement, texts)
    assert claim != stated.text
    assert observation(shown)["VARIANTS"]["valueCodeableConcept"]["text"] == claim
    assert private_items(written_report(shown))["VARIANTS-TEXT"] == [claim]
    assert {describe(row.rendering) for row in stated.rows} & {
        rendering_text(row.rendering, texts) for row in stated.rows
    } == set()


@pytest.mark.parametrize("name", CASES)
def test_structured_report_with_variants_has_no_error_of_dciodvfy(name: str, tmp_path: Path) -> None:
    assert dciodvfy_errors(written_report(report(name)), tmp_path) == []


def test_certificate_without_variants_says_nothing_about_them() -> None:
    shown = report("held", case=replace(HELD, variants=None))
    assert [name for name in observation(shown) if name.startswith("VARIANTS")] == []
    assert [name for name in private_items(written_report(shown)) if name.startswith("VARIANTS")] == []
    assert [text for text in page_texts(shown) if "rendering" in text] == []


def test_many_renderings_make_the_report_no_longer_than_few() -> None:
    """Rows stand in the document; a report of 1,088 rows would be read by nobody."""
    many = replace(HELD, variants=replace(VARIANTS, lists=(Shifts(pixels=16),), n=10, radius=0.0))
    few = replace(many, variants=replace(VARIANTS, lists=(Shifts(pixels=1),), n=10, radius=0.0))
    sizes = [len(written_report(report("", case=case))) for case in (many, few)]
    assert abs(sizes[0] - sizes[1]) < 64
