"""A document that a tool has reformatted verifies and says so; every other change of its bytes is refused."""

import hashlib
import json
from collections.abc import Callable

import pytest

from certrad.models.certificates.strict_json import load
from certrad.models.certificates.verify import verify
from certrad.models.errors import Rejected
from tests.support.certificates import genuine
from tests.unit.models.certificates.test_verify import FIXED, KNOWN, refused

CONTENT = genuine(FIXED)
TEXT = CONTENT.decode()

SPELLINGS: dict[str, Callable[[str], str]] = {
    "indented": lambda text: json.dumps(json.loads(text), indent=2),
    "space in front": " {}".format,
    "line end": "{}\r\n".format,
    "keys unsorted": lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")),
    "escaped": lambda text: text.replace("certrad.certificate", "certrad\\u002ecertificate", 1),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_reformatted_document_verifies_and_says_so(spelling: str) -> None:
    content = SPELLINGS[spelling](TEXT).encode()
    assert content != CONTENT
    found = verify(content, KNOWN)
    assert (found.valid, found.reformatted, found.form) == (True, True, "document")
    assert found.certificate == hashlib.sha256(CONTENT).hexdigest()
    assert next(check.detail for check in found.checks if check.name == "canonical").startswith("reformatted")


def test_document_as_it_is_stored_is_not_called_reformatted() -> None:
    found = verify(CONTENT, KNOWN)
    assert (found.valid, found.reformatted, found.certificate) == (True, False, hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"samples_used":"220"', '"samples_used":"220.0"'),
        ('"samples_used":"220"', '"samples_used":"0220"'),
        ('"samples_used":"220"', '"samples_used":"2.2e2"'),
        ('"samples_used":"220"', '"samples_used":" 220"'),
        ('"samples_used":"220"', '"samples_used":"221"'),
        ('"sigma":"0.25"', '"sigma":"0.250"'),
        ('"target_radius":null', '"target_radius":"null"'),
        ('"scope":"input_independent"', '"scope":"input_independent\\u0000"'),
        ('"scope":"input_independent"', '"scope":"input\\u005findependent "'),
    ],
)
def test_respelled_or_changed_value_in_a_reformatted_document_is_refused(before: str, after: str) -> None:
    assert before in TEXT
    content = json.dumps(json.loads(TEXT.replace(before, after)), indent=2).encode()
    assert "signature" in refused(verify(content, KNOWN))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "\ufeff" + text, "byte order mark"),
        (lambda text: text.replace('"220"', "220"), "JSON number"),
        (lambda text: text.replace('"220"', "220.0"), "JSON number"),
        (lambda text: text.replace('"220"', "2.2E2"), "JSON number"),
        (lambda text: text.replace('"220"', "-0"), "JSON number"),
        (lambda text: text.replace('"220"', "NaN"), "JSON number"),
        (lambda text: text.replace('"220"', "Infinity"), "JSON number"),
        (lambda text: text.replace('"220"', "-Infinity"), "JSON number"),
        (lambda text: text.replace('"220"', "9" * 100_000), "JSON number"),
        (lambda text: text.replace('"220"', "1e999999999"), "JSON number"),
        (lambda text: text.replace('"samples_used"', '"samples_used":"220","samples_used"'), "key twice"),
        (lambda text: text.replace('"eta":', '"eta":"0.000001","eta":'), "key twice"),
        (lambda text: text.replace('"eta":', '"et\\u0061":"0.5","eta":'), "key twice"),
        (lambda text: text.replace('"samples_used"', '"samples_used\u0301"'), "key outside ASCII"),
        (lambda text: text.replace('"samples_used"', '"\\ud83d\\ude00":"0","samples_used"'), "key outside ASCII"),
        (lambda text: text.replace('"220"', '"\\ud800"'), "surrogate"),
        (lambda text: text.replace('"220"', '"22\n0"'), "not JSON"),
        (lambda text: text.replace('"220"', "'220'"), "not JSON"),
        (lambda text: text.replace('"220"', '"220",'), "not JSON"),
        (lambda text: text + "{}", "not JSON"),
        (lambda text: text + "\0", "not JSON"),
        (lambda text: text + "\u00a0", "not JSON"),
        (lambda text: "// a comment\n" + text, "not JSON"),
        (lambda text: text.replace('"220"', '{"a":' * 40 + '"0"' + "}" * 40), "nested too deeply"),
        (lambda text: text.replace('"220"', "[" * 900 + "]" * 900), "nested too deeply"),
        (lambda text: text.replace('"220"', "[" * 100_000 + "]" * 100_000), "nested too deeply"),
    ],
)
def test_text_that_could_be_read_in_two_ways_is_no_certificate(change: Callable[[str], str], reason: str) -> None:
    content = change(TEXT).encode()
    assert content != CONTENT
    with pytest.raises(Rejected, match=reason) as refusal:
        verify(content, KNOWN)
    assert refusal.value.code == "not_a_certificate"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_another_encoding_is_no_certificate(encoding: str) -> None:
    with pytest.raises(Rejected, match=r"not UTF-8|byte order mark|not JSON") as refusal:
        verify(TEXT.encode(encoding), KNOWN)
    assert refusal.value.code == "not_a_certificate"


def test_reason_of_a_refusal_holds_nothing_of_the_text() -> None:
    with pytest.raises(ValueError, match="key twice") as refusal:
        load(b'{"Jane Doe":"a","Jane Doe":"b"}')
    assert "Jane" not in str(refusal.value)
