"""The private coding scheme defines and publishes every concept, short enough for every reader."""

import hashlib
import json
from dataclasses import replace
from typing import get_args

import pytest
from fhir.resources.R4B.codesystem import CodeSystem
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.sr.coding import Code as DicomCode

from certrad.models.types import AbstentionReason, Rule, Scope, TaskCard
from certrad.models.types.code import Code
from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.image import IMAGE_WARNINGS
from certrad.workers.reports import codes
from certrad.workers.reports.code_list import code_system, private_concepts
from tests.support.documentation import DOCS
from tests.support.own_cards import own_task

PNEUMONIA = Code(value="233604007", scheme="SCT", meaning="Pneumonia")
NORMAL = Code(value="17621005", scheme="SCT", meaning="Normal")


def test_no_two_concepts_have_one_value() -> None:
    values = [concept.value for concept in private_concepts()]
    assert len(values) == len(set(values)) > 30


@pytest.mark.parametrize("concept", private_concepts(), ids=lambda concept: concept.value)
def test_every_concept_is_defined_in_sentences(concept: codes.Concept) -> None:
    assert concept.scheme == "99CERTRAD"
    assert concept.definition.endswith(".")


@pytest.mark.parametrize(
    ("known", "coded"),
    [
        (get_args(AbstentionReason), codes.ABSTENTION_REASONS),
        (get_args(Rule), codes.METHODS),
        (get_args(Scope), codes.SCOPES),
        ((*IMAGE_WARNINGS, "burned_in_annotation"), codes.WARNINGS),
    ],
    ids=["reasons", "rules", "scopes", "warnings"],
)
def test_everything_that_a_certificate_can_state_has_a_code(known: tuple[str, ...], coded: dict[str, Code]) -> None:
    assert set(known) <= set(coded)


@pytest.mark.parametrize(
    ("ours", "standard"),
    [
        (codes.FINDING, dicom_codes.DCM.Finding),
        (codes.MEASUREMENT_METHOD, dicom_codes.SCT.MeasurementMethod),
        (codes.NO_UNITS, dicom_codes.UCUM.NoUnits),
        (codes.ARTIFICIAL_INTELLIGENCE, dicom_codes.DCM.ArtificialIntelligence),
    ],
    ids=lambda code: code.value,
)
def test_standard_codes_are_those_of_the_standard(ours: Code, standard: DicomCode) -> None:
    assert (ours.value, ours.scheme, ours.meaning) == (standard.value, standard.scheme_designator, standard.meaning)


def test_published_code_system_is_current() -> None:
    published = json.loads((DOCS / "code_system_99certrad.json").read_text("utf-8"))
    assert published == code_system(), "run `python -m certrad.bench reference`"


def test_the_page_names_the_scheme_as_files_do() -> None:
    page = (DOCS / "code_list.md").read_text("utf-8")
    for name in (codes.SCHEME, codes.SCHEME_UID, codes.SCHEME_URL):
        assert f"| `{name}` |" in page


def test_published_code_system_is_valid_fhir() -> None:
    system = CodeSystem.model_validate(code_system())
    assert (system.url, system.count) == (f"urn:oid:{codes.SCHEME_UID}", len(private_concepts()))


def test_a_class_has_the_code_of_its_task() -> None:
    assert codes.finding("pneumonia", {"normal": NORMAL, "pneumonia": PNEUMONIA}) == PNEUMONIA


def test_a_class_without_a_code_gets_a_private_one() -> None:
    digest = hashlib.sha256(b"chest CT").hexdigest()
    assert codes.finding("chest CT", {}) == codes.private_code(f"CLASS-{digest[:8]}", "chest CT")


@pytest.mark.parametrize(
    ("label", "meaning"), [("x" * 200, "x" * 64), ("y" * 63 + " z", "y" * 63), ("a\\b  c ", "a/b c"), ("ç\u00e9", "çé")]
)
def test_any_class_name_makes_a_meaning_that_dicom_allows(label: str, meaning: str) -> None:
    assert codes.finding(label, {}).meaning == meaning


@pytest.mark.parametrize(
    "fields",
    [
        {"value": ""},
        {"value": "1" * 17},
        {"meaning": "m" * 65},
        {"meaning": "a\\b"},
        {"scheme": ""},
        {"value": " 1"},
        {"meaning": "line\nend"},
    ],
)
def test_a_code_that_dicom_does_not_allow_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"the {next(iter(fields))} of a code must have"):
        replace(PNEUMONIA, **fields)


def test_a_task_card_names_the_codes_of_its_classes() -> None:
    card = own_task(class_codes=(NORMAL, PNEUMONIA))
    assert decode_card(TaskCard, encode_card(card)) == card
    assert card.codes_by_class == dict(zip(card.class_names, (NORMAL, PNEUMONIA), strict=True))


def test_a_task_card_without_codes_is_read() -> None:
    text = json.loads(encode_card(own_task()))
    del text["class_codes"]
    assert decode_card(TaskCard, json.dumps(text)).codes_by_class == {}


def test_a_task_card_with_a_code_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="class_codes must have one code for each of the 2 classes, got 1"):
        own_task(class_codes=(NORMAL,))
