"""Canonical JSON of certificates is that of RFC 8785, and what the two could write in two ways is refused."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from certrad.models.certificates.canonical import canonical, compact
from certrad.models.certificates.strict_json import load
from tests.support.certificates import CASES, genuine

ASCII = st.text(st.characters(max_codepoint=127))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert compact(value) == canonical(value) == rfc8785.dumps(value)


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans(), st.randoms())
def test_a_reformatted_text_is_read_as_the_same_value(value: Any, indent: Any, ascii_only: bool, random: Any) -> None:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            items = [(key, shuffled(item)) for key, item in node.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    text = json.dumps(shuffled(value), indent=indent, ensure_ascii=ascii_only)
    assert compact(load(text.encode())) == compact(value)


@given(VALUES, VALUES)
def test_two_values_have_two_texts(first: Any, second: Any) -> None:
    same_type_and_value = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (compact(first) == compact(second)) is same_type_and_value


@given(st.text(st.characters(min_codepoint=128, exclude_categories=["Cs"]), min_size=1))
def test_keys_outside_ascii_are_refused_because_their_order_could_differ(key: str) -> None:
    for make in (compact, canonical):
        with pytest.raises(ValueError, match="ASCII"):
            make({key: "value"})
    with pytest.raises(ValueError, match="ASCII"):
        load(json.dumps({"outer": [{key: "value"}]}).encode())


@given(st.integers() | st.floats())
def test_json_numbers_are_refused_because_their_spelling_could_differ(number: float) -> None:
    with pytest.raises(ValueError, match="number"):
        compact({"outer": [number]})
    with pytest.raises(ValueError, match="number"):
        load(json.dumps({"outer": [number]}).encode())


def test_every_kind_of_document_has_the_bytes_of_rfc_8785() -> None:
    for case in CASES[::9]:
        content = genuine(case)
        assert rfc8785.dumps(json.loads(content)) == content
