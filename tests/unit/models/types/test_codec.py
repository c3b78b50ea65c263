"""Cards as JSON: what is written is read again, and a card with a field of a wrong type is refused."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from certrad.models.shipped import (
    shipped_adapters,
    shipped_backbones,
    shipped_datasets,
    shipped_prompts,
    shipped_tasks,
)
from certrad.models.types import AdapterCard, BackboneCard, DatasetCard, PromptCard, TaskCard
from certrad.models.types.codec import decode_card, encode_card

CARDS = [
    card
    for cards in (shipped_adapters, shipped_backbones, shipped_datasets, shipped_prompts, shipped_tasks)
    for card in cards().values()
]
PROMPT = next(iter(shipped_prompts().values()))
BACKBONE = shipped_backbones()["demo"]
TASK = shipped_tasks()["mednist"]
DATASET = shipped_datasets()["mednist"]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_card_is_read_as_it_was_written(
    card: AdapterCard | BackboneCard | DatasetCard | PromptCard | TaskCard,
) -> None:
    assert decode_card(type(card), encode_card(card)) == card


def test_integers_of_a_float_field_become_floats() -> None:
    text = json.dumps({**asdict(BACKBONE), "mean": [0, 0, 0]})
    assert [type(value) for value in decode_card(BackboneCard, text).mean] == [float] * 3


@pytest.mark.parametrize(
    ("card", "field", "value"),
    [
        (PROMPT, "n_ctx", "four"),
        (PROMPT, "n_ctx", "4"),
        (PROMPT, "n_ctx", 4.0),
        (PROMPT, "n_ctx", True),
        (PROMPT, "n_ctx", None),
        (PROMPT, "class_specific", 1),
        (PROMPT, "class_names", "abdomen CT"),
        (PROMPT, "class_names", [1, 2]),
        (PROMPT, "method", "unheard-of"),
        (PROMPT, "task", 1),
        (PROMPT, "tuning", []),
        (BACKBONE, "mean", [0.5, 0.5]),
        (BACKBONE, "mean", [0.5, 0.5, "0.5"]),
        (BACKBONE, "image_size", 7),
        (TASK, "template", "no braces"),
        (TASK, "sigma_routing", "auto"),
        (DATASET, "paths", {"images": 1}),
        (DATASET, "raw_labels", ["a", "a"]),
    ],
)
def test_a_field_of_a_wrong_type_or_out_of_range_is_refused(card: Any, field: str, value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        decode_card(type(card), json.dumps({**asdict(card), field: value}))


def test_a_missing_field_is_named() -> None:
    fields = {name: value for name, value in asdict(PROMPT).items() if name != "sha256"}
    with pytest.raises(ValueError, match="missing or unknown fields: sha256"):
        decode_card(PromptCard, json.dumps(fields))


def test_an_unknown_field_is_refused_unless_a_newer_release_may_have_written_it() -> None:
    text = json.dumps({**asdict(PROMPT), "colour": "red"})
    with pytest.raises(ValueError, match="missing or unknown fields: colour"):
        decode_card(PromptCard, text)
    assert decode_card(PromptCard, text, allow_unknown=True) == PROMPT


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"card"'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be an object|Expecting"):
        decode_card(PromptCard, text)
