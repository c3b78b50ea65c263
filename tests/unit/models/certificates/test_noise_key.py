"""The parts of a noise key: one model input, classifier and sampling have one noise, however they are spelled."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from certrad.models.backbones.base import Backbone
from certrad.models.certificates.noise_key import (
    card_digest,
    classifier_digest,
    classifier_parts,
    noise_key,
    sampling_digest,
)
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.text_digest import text_digest
from certrad.models.types import (
    AutoSigma,
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    SamplingParams,
    ZeroShotAdaptation,
)
from certrad.models.types.identity import ClassifierParts
from tests.support import tiny_clip
from tests.support.certificates import ROUTING, identity

PARTS = ClassifierParts(
    backbone_sha256="11" * 32,
    card_sha256="22" * 32,
    dtype="float32",
    text_sha256="33" * 32,
    gate_sha256=None,
    zero_shot=None,
    law="philox-ziggurat-f64",
)
SPEC = ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b", "c"), template="{}", adaptation=None)
REQUEST = CertifyRequest(classifier=SPEC, sigma=FixedSigma(0.5), params=SamplingParams(n0=20, n=100))
PAIR = replace(REQUEST, classifier=replace(SPEC, class_names=("a", "b")))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A small model whose text tower reads real tokens."""
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


def test_key_is_known_for_an_image_a_classifier_and_settings() -> None:
    key = noise_key(b"an epoch secret of the site", "00" * 32, classifier_digest(PARTS), sampling_digest(REQUEST))
    assert key.hex() == "bc7c449e54bdb7bcb12deaf653bb3af65434216f67b68f424f8d864d223ccb5f"


@pytest.mark.parametrize(
    "other",
    [
        replace(PARTS, backbone_sha256="ab" * 32),
        replace(PARTS, card_sha256="ab" * 32),
        replace(PARTS, dtype="bfloat16"),
        replace(PARTS, text_sha256="ab" * 32),
        replace(PARTS, gate_sha256="ab" * 32),
        replace(PARTS, zero_shot=ZeroShotAdaptation()),
        replace(PARTS, law="philox-boxmuller-f64"),
        replace(PARTS, adapter_sha256="ab" * 32),
        replace(PARTS, rejection_sha256="ab" * 32),
    ],
)
def test_classifier_with_any_other_part_has_another_digest(other: ClassifierParts) -> None:
    assert classifier_digest(other) != classifier_digest(PARTS)


def test_templates_that_differ_in_a_capital_letter_are_one_classifier(backbone: Backbone) -> None:
    names = ("knee", "hand")
    digests = {text_digest(backbone, names, template, None) for template in ("an X-ray of a {}", "An x-ray of a {}")}
    assert len(digests) == 1
    assert text_digest(backbone, names, "an image of a {}", None) not in digests
    assert text_digest(backbone, ("knee", "foot"), "an X-ray of a {}", None) not in digests


def test_order_of_the_classes_draws_no_other_noise(backbone: Backbone) -> None:
    context = ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(0))
    for prompt in (None, context):
        digests = {text_digest(backbone, names, "a {}", prompt) for names in permutations(("knee", "hand", "foot"))}
        assert len(digests) == 1


def test_vectors_for_each_class_stay_with_their_class(backbone: Backbone) -> None:
    context = ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(0), n_classes=2)
    digests = {text_digest(backbone, names, "{}", context) for names in (("knee", "hand"), ("hand", "knee"))}
    assert len(digests) == 2


def test_other_context_vectors_are_another_classifier(backbone: Backbone) -> None:
    contexts = [ContextVectors.random(2, backbone.text_width, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert len({text_digest(backbone, ("knee", "hand"), "{}", context) for context in (None, *contexts)}) == 3


def test_names_of_backbone_prompt_and_classes_are_no_part_of_the_digest() -> None:
    made = identity(SPEC, block_size=64)
    renamed = replace(made, backbone="other", prompt="other", class_names=("x", "y", "z"), template="of {}")
    law = PARTS.law
    assert classifier_digest(classifier_parts(renamed, law)) == classifier_digest(classifier_parts(made, law))


def test_identity_of_schema_2_has_no_classifier_digest() -> None:
    with pytest.raises(ValueError, match="card"):
        classifier_parts(replace(identity(SPEC, block_size=64), card_sha256=None), PARTS.law)


def test_card_that_computes_otherwise_has_another_digest(backbone: Backbone) -> None:
    card = backbone.card
    assert card_digest(replace(card, title="other", notes="other")) == card_digest(card)
    for change in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)}, {"image_size": 64}, {"activation": "gelu"}):
        changed = replace(card, **change)
        assert card_digest(changed) != card_digest(card), change


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, sigma=FixedSigma(0.25)),
        replace(REQUEST, sigma=AutoSigma(ROUTING)),
        replace(REQUEST, params=replace(REQUEST.params, alpha=0.01)),
        replace(REQUEST, params=replace(REQUEST.params, n0=30)),
        replace(REQUEST, params=replace(REQUEST.params, n=200)),
        replace(REQUEST, params=replace(REQUEST.params, bound="cohen")),
        replace(REQUEST, params=replace(REQUEST.params, target_radius=0.25)),
    ],
)
def test_other_sampling_has_another_digest(other: CertifyRequest) -> None:
    assert sampling_digest(other) != sampling_digest(REQUEST)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (PAIR, replace(PAIR, params=replace(PAIR.params, bound="cohen"))),
        (replace(REQUEST, sigma=FixedSigma(1.0)), replace(REQUEST, sigma=FixedSigma(1))),
        (REQUEST, replace(REQUEST, urgent=True)),
        (REQUEST, replace(REQUEST, frame=2)),
    ],
    ids=["two classes have one bound", "1 is 1.0", "urgency", "frame"],
)
def test_one_sampling_has_one_digest_however_it_is_spelled(one: CertifyRequest, same: CertifyRequest) -> None:
    assert sampling_digest(same) == sampling_digest(one)
