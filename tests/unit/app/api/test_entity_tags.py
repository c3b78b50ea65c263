"""Answers are 304 only for a client that has the current copy."""

import pytest

from certrad.app.api.entity_tags import not_modified


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', '"b", "a"', "*"])
def test_header_that_names_the_tag_matches(header: str) -> None:
    assert not_modified('"a"', header)


@pytest.mark.parametrize("header", [None, "", '"b"', '"aa"', "a", '"a-jws"'])
def test_header_without_the_tag_does_not_match(header: str | None) -> None:
    assert not not_modified('"a"', header)
