"""The certificate document states every fact in agreed words, and its bytes have one spelling."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.certificates.facts import Facts
from certrad.models.certificates.labels import merkle_root, parse_labels
from certrad.models.certificates.text import formula, scope_text
from certrad.models.types import (
    Abstention,
    Adaptation,
    Certificate,
    Decision,
    GatedAdaptation,
    Rule,
    ZeroShotAdaptation,
)
from certrad.workers.contract.job import RESULT
from tests.support.certificates import ADAPTER, SCALE
from tests.support.document_facts import CERTIFIED, facts

ABSTAINED = Abstention(reason="target_not_certifiable", p_a_lower=0.6, p_b_upper=0.4)


def result(stated: Facts) -> dict[str, Any]:
    """The result of a job as JSON has it."""
    parsed: dict[str, Any] = RESULT.dump_python(certification_result(stated, warnings=[], timing={}), mode="json")
    return parsed


def test_document_has_the_fields_of_its_schema() -> None:
    made = document(facts())
    assert made["schema"] == "certrad.certificate/3"
    assert set(made) == {
        "schema", "claims", "scope", "scope_text", "limits", "params", "decision", "selection", "estimation",
        "samples_used", "subject", "classifier", "noise", "software", "signature",
    }  # fmt: skip
    assert [claim["kind"] for claim in made["claims"]] == ["l2_radius/1", "image_radius/1"]
    assert [part["kind"] for part in made["classifier"]["parts"]] == ["image_tower/1", "prompt/1"]
    assert set(made["params"]) == {
        "sigma", "alpha", "n0", "n", "bound", "target_radius", "eta", "alpha_split", "formula",
    }  # fmt: skip
    assert set(made["estimation"]) == {"per_class", "invalid", "labels", "merkle_root"}
    assert set(made["noise"]) == {"law", "key", "epoch_sha256", "classifier_sha256", "settings_sha256"}
    assert made["signature"] is None


def test_adapter_is_a_part_of_its_own_behind_the_image_tower() -> None:
    made = document(facts(adapter=ADAPTER))
    tower, adapter, text = made["classifier"]["parts"]
    assert (tower["kind"], text["kind"]) == ("image_tower/1", "prompt/1")
    assert set(adapter) == {"kind", "adapter", "adapter_sha256", "training_images"}
    assert (adapter["kind"], adapter["adapter"]) == ("image_adapter/1", ADAPTER)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ("recorded", "an adapter that was fixed before the image was sent, and this model input is not one that"),
        ("not_recorded", "the images that the adapter was trained on are not recorded"),
    ],
)
@pytest.mark.parametrize("adaptation", [None, GatedAdaptation(), ZeroShotAdaptation()])
def test_scope_says_what_is_known_of_the_images_of_an_adapter(
    adaptation: Adaptation | None, images: Any, words: str
) -> None:
    frozen, adapted = facts(adaptation=adaptation).classifier, facts(adaptation=adaptation, adapter=ADAPTER).classifier
    said = scope_text(replace(adapted, adapter_images=images))
    assert said.startswith(scope_text(frozen))
    assert words in said


def test_adapter_cannot_be_named_without_its_digest() -> None:
    with pytest.raises(ValueError, match="with its digest"):
        replace(facts().classifier, adapter=ADAPTER)


def test_labels_are_stated_in_index_order_with_their_root() -> None:
    made = document(facts())
    labels = parse_labels(made["estimation"]["labels"])
    assert made["estimation"]["labels"] == "0*95 2*1 3*1 0*3"
    assert made["estimation"]["merkle_root"] == merkle_root(labels)
    assert (made["estimation"]["per_class"], made["estimation"]["invalid"]) == ((98, 0, 1), 1)
    assert made["samples_used"] == 120


def test_counts_that_are_not_those_of_the_labels_are_refused() -> None:
    evidence = facts().evidence
    with pytest.raises(ValueError, match="must count to"):
        type(evidence)(
            sigma=evidence.sigma,
            alpha_split=evidence.alpha_split,
            selection=evidence.selection,
            estimation=evidence.estimation,
            labels=evidence.labels[2:],
            outcome=evidence.outcome,
            decision=evidence.decision,
        )


@pytest.mark.parametrize(("target", "reached"), [(0.3181, True), (0.3182, False)])
def test_a_target_is_said_to_be_reached_or_missed(target: float, reached: bool) -> None:
    asked = facts(target_radius=target)
    assert document(asked)["claims"][0]["target_reached"] is reached
    assert result(asked)["target_reached"] is reached


def test_nothing_is_said_of_a_target_that_nobody_asked_for() -> None:
    assert document(facts())["claims"][0]["target_reached"] is None


def test_an_abstention_has_a_reason_and_neither_label_nor_radius() -> None:
    claim = document(facts(outcome=ABSTAINED, decision=Decision(rule="futility"), target_radius=0.5))["claims"][0]
    assert claim == {
        "kind": "abstention/1",
        "reason": "target_not_certifiable",
        "p_a_lower": 0.6,
        "p_b_upper": 0.4,
    }


@pytest.mark.parametrize("target", [None, 0.25])
def test_the_shares_of_alpha_are_those_of_the_request(target: float | None) -> None:
    asked = facts(target_radius=target)
    split = document(asked)["params"]["alpha_split"]
    assert set(split) == {"p_a", "p_b", "p_a_anytime", "p_b_anytime"}
    assert sum(split.values()) <= asked.request.params.alpha * (1 + 1e-12)
    assert (split["p_a_anytime"] > 0) is (target is not None)


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_rule_has_its_formula(rule: Rule) -> None:
    decision = Decision(rule=rule, look_every=64)
    outcome: Certificate | Abstention = ABSTAINED if rule in ("futility", "curtailment") else CERTIFIED
    made = document(facts(decision=decision, outcome=outcome, target_radius=0.25))
    assert made["decision"] == {"rule": rule, "look_every": 64}
    formulas = {formula(other, facts().request.params.alpha_split(3)) for other in get_args(Rule)}
    assert len(formulas) == len(get_args(Rule))
    assert made["params"]["formula"] in formulas


def test_without_a_share_for_the_runner_up_the_formula_has_none() -> None:
    made = document(facts(bound="cohen"))
    assert made["params"]["alpha_split"]["p_b"] == 0
    assert "cp_upper" not in made["params"]["formula"]


@pytest.mark.parametrize(
    ("adaptation", "name", "scope", "word"),
    [
        (None, "none", "input_independent", "and this model input is not one that it was tuned on"),
        (GatedAdaptation(), "gated", "input_independent", "and this model input is not one that they were tuned on"),
        (ZeroShotAdaptation(), "zero_shot", "frozen_prompt", "frozen"),
    ],
)
def test_the_scope_is_said_in_words(adaptation: Adaptation | None, name: str, scope: str, word: str) -> None:
    asked = facts(adaptation=adaptation)
    made, shown = document(asked), result(asked)
    assert made["scope"] == shown["scope"] == scope
    assert word in made["scope_text"]
    assert made["scope_text"] == shown["scope_text"]
    assert shown["adaptation"] == name


def test_the_limits_say_what_the_claim_rests_on_and_what_it_does_not_cover() -> None:
    limits = " ".join(document(facts())["limits"]).replace("For each", "for each")
    for words in (
        "L2",
        "20 noisy samples",
        "100 others",
        "for each submission",
        "no such bound",
        "named software",
        "digital",
        "Research",
    ):
        assert words in limits, words


def test_the_radius_is_told_on_the_image_that_was_sent() -> None:
    asked = facts()
    found = document(asked)["claims"][1]
    assert found["unit"] == SCALE.unit == "HU"
    assert found["l2"] == pytest.approx((0.3181 - 2.3e-5) * 399 / (0.6644**2 * 3**0.5), abs=1e-3)
    assert json.loads(json.dumps(found)) == {"kind": "image_radius/1", **result(asked)["radius_in_image_units"]}
    assert document(facts(outcome=ABSTAINED))["claims"][1]["kind"] == "no_image_radius/1"


def test_canonical_bytes_hold_no_number_and_come_back_as_they_were() -> None:
    content = canonical(document(facts(target_radius=0.25)))
    parsed = json.loads(content, parse_int=lambda text: pytest.fail(text), parse_float=lambda text: pytest.fail(text))
    assert canonical(parsed) == content
    assert "ç".encode() in content
    assert parsed["params"]["eta"] == "0.000001"


def test_the_document_states_no_time_and_no_job() -> None:
    assert canonical(document(facts())) == canonical(document(facts()))
    assert certification_result(facts(), warnings=[], timing={"select_s": 1.0}).timing == {"select_s": 1.0}
