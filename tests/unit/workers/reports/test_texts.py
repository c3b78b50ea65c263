"""The catalogue of texts: the languages say the same, and English says what documents and results say."""

from dataclasses import replace
from string import Formatter
from typing import Any

import pytest

from certrad.models.certificates.document import state
from certrad.models.certificates.text import limits, scope_text
from certrad.models.images.units import radius_in_image_units
from certrad.models.types import ClassifierSpec, GatedAdaptation, ZeroShotAdaptation
from certrad.models.types.image import IMAGE_WARNINGS, NoImageRadius
from certrad.workers.reports.codes import ABSTENTION_REASONS, WARNINGS
from certrad.workers.reports.fonts import can_draw
from certrad.workers.reports.texts import LANGUAGES, Language, Texts, catalogue, scope_kinds
from tests.support.certificates import ADAPTER, ADAPTER_SHA256, NOISY_IMAGE, SCALE, identity
from tests.support.document_facts import facts

_LONG_STRING = 64
_LATER_LIMITS = ("probability", "classifier", "abstention", "research", "samples")
_SHORT_TEXT = 1024


def placeholders(text: str) -> set[str]:
    """The names in curly brackets."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_keys_of_english(language: str) -> None:
    assert catalogue(language).keys() == catalogue("en").keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_placeholders_of_english(language: str) -> None:
    english = {key: placeholders(text) for key, text in catalogue("en").items()}
    assert {key: placeholders(text) for key, text in catalogue(language).items()} == english


def test_every_german_sentence_is_translated() -> None:
    english, german = catalogue("en"), catalogue("de")
    assert [key for key, text in english.items() if len(text.split()) > 1 and german[key] == text] == [
        "page.certificate"
    ] * (german["page.certificate"] == english["page.certificate"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_fonts_have_every_character_of_the_catalogue(language: str) -> None:
    assert [key for key, text in catalogue(language).items() if not can_draw(text)] == []


@pytest.mark.parametrize("tuning_images", ["recorded", "not_recorded"])
@pytest.mark.parametrize(
    ("prompt", "adaptation"),
    [("template", None), ("few-shot", None), ("bank", GatedAdaptation()), ("template", ZeroShotAdaptation())],
)
def test_english_scope_is_that_of_the_document(prompt: str, adaptation: Any, tuning_images: Any) -> None:
    template = "a {}" if prompt == "template" else "{}"
    spec = ClassifierSpec(
        backbone="demo", prompt=prompt, class_names=("a", "b"), template=template, adaptation=adaptation
    )
    classifier = replace(identity(spec, block_size=64), tuning_images=tuning_images)
    for images in (None, "recorded", "not_recorded"):
        named: dict[str, Any] = (
            {} if images is None else {"adapter": ADAPTER, "adapter_sha256": ADAPTER_SHA256, "adapter_images": images}
        )
        adapted = replace(classifier, **named, noisy_image=NOISY_IMAGE if images == "recorded" else None)
        sentences = [catalogue("en")[f"scope.{kind}"] for kind in scope_kinds(adapted)]
        assert " ".join(sentences) == scope_text(adapted)


@pytest.mark.parametrize("kind", ["gated_recorded", "prompt_recorded", "adapter_recorded"])
@pytest.mark.parametrize(
    ("language", "words"), [("en", "this model input is not"), ("de", "diese Modelleingabe ist keine")]
)
def test_images_that_are_ruled_out_are_named_as_model_inputs(kind: str, language: str, words: str) -> None:
    """Another window or region of the same file is another model input, and passes."""
    assert words in catalogue(language)[f"scope.{kind}"]


def test_english_limits_are_those_of_the_document() -> None:
    spec = ClassifierSpec(backbone="demo", prompt="few-shot", class_names=("a", "b"), template="{}")
    classifier = identity(spec, block_size=64)
    assert Texts("en").limits(100, 10_000) == limits(classifier, 100, 10_000)


@pytest.mark.parametrize("language", LANGUAGES)
def test_limits_of_noise_on_the_image_are_translated_word_by_word(language: Language) -> None:
    """No limit of such a document stays English in another language, and in English none is changed."""
    stated = state(facts(noise_space="image"))
    texts = Texts(language)
    keys = ("claim_rendered", "correctness", "norm_rendered", *_LATER_LIMITS)
    expected = [texts(f"limits.{key}", selected="20", estimated="100") for key in keys]
    assert texts.stated_limits(stated) == expected
    if language == "en":
        assert expected == list(stated.limits)


@pytest.mark.parametrize("language", LANGUAGES)
def test_scope_of_noise_on_the_image_names_its_pixels(language: Language) -> None:
    stated, texts = state(facts(noise_space="image")), Texts(language)
    assert texts.scope(stated).endswith(texts("scope.rendered"))
    assert texts("scope.rendered") not in texts.scope(state(facts()))


@pytest.mark.parametrize("code", IMAGE_WARNINGS)
def test_english_warning_is_that_of_the_result(code: Any) -> None:
    assert catalogue("en")[f"warning.{code}"] == IMAGE_WARNINGS[code]


@pytest.mark.parametrize(
    ("radius", "changes"),
    [(None, {}), (0.5, {"depends_on_pixels": True}), (0.5, {"slope": 0.0}), (1e-5, {})],
    ids=["abstention", "percentile", "flat", "rounding"],
)
def test_reason_without_an_image_radius_is_in_the_catalogue(
    radius: float | None, changes: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    stated = radius_in_image_units(radius, replace(SCALE, **changes))
    assert isinstance(stated, NoImageRadius)
    assert Texts("en").no_image_radius(stated) == stated.reason
    assert Texts("de").no_image_radius(stated) == catalogue("de")[f"no_image_radius.{request.node.callspec.id}"]


def test_unknown_reason_without_an_image_radius_points_to_the_document() -> None:
    assert "document" in Texts("en").no_image_radius(NoImageRadius(reason="of a later release"))


def test_every_reason_of_an_abstention_has_a_sentence_and_a_next_step() -> None:
    keys = catalogue("en").keys()
    for part in ("reason", "next_step"):
        assert {key.rpartition(".")[2] for key in keys if key.startswith(f"abstained.{part}.")} == set(
            ABSTENTION_REASONS
        )


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_is_told_to_try_again_is_told_what_many_tries_cost(language: str) -> None:
    assert "m·α" in catalogue(language)["abstained.next_step.no_majority"]


def test_every_coded_warning_has_a_sentence() -> None:
    assert {key.partition(".")[2] for key in catalogue("en") if key.startswith("warning.")} == set(WARNINGS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_fit_into_the_elements_of_dicom_that_hold_them(language: str) -> None:
    texts = catalogue(language)
    assert max(len(text) for key, text in texts.items() if key.startswith("series.")) <= _LONG_STRING
    assert max(len(text) for key, text in texts.items() if key.startswith("derivation.")) <= _SHORT_TEXT


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [
        (0.4273, "0.4273", "0,4273"),
        (1e-06, "0.000001", "0,000001"),
        (2100, "2100", "2100"),
        (10_100, "10,100", "10\u202f100"),
        (-1024.0, "\u22121024", "\u22121024"),
        (100.0, "100", "100"),
        (160.7569, "160.7569", "160,7569"),
    ],
)
def test_numbers_are_exact_and_written_as_in_the_language(value: float, english: str, german: str) -> None:
    assert (Texts("en").number(value), Texts("de").number(value)) == (english, german)


def test_language_without_a_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="en, de"):
        Texts("fr")
