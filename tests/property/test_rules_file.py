"""Rules as a text: whatever it is, it ends as rules or as sentences, and soon."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from certrad.workers.contract.rules import Rules
from certrad.workers.contract.rules_file import REQUEST_FIELDS, RulesError, parse_rules

KEYS = [*REQUEST_FIELDS, "name", "match", "ignore", "reason", "destination", "instances", "max_instances", "outputs"]
WORDS = ["'x'", '"a"', "0x" + "f" * 5_000, "1" * 400, "1" * 5_000, "-1", "0.5", "1e999", "nan", "inf", "true"]
WORDS += [
    "[]",
    "{}",
    "[[]]",
    "['sr']",
    "['x', 1]",
    "{ modality = 1 }",
    "{ station = ['a', {}] }",
    "1979-05-27",
    "'1,2'",
]
WORDS += ["[0x" + "f" * 5_000 + "]", "'''x\ny'''", "'1e999,1'", "'nan,nan'", "'pacs'", "'auto'", "'middle'", "'1,2'"]
VALUES = st.sampled_from(WORDS) | st.floats().map(repr) | st.integers().map(str)
HEADINGS = st.sampled_from(["[[rule]]", "[rule]", "[destination.x]", "[destination.pacs]", "[[destination]]"])
PAIRS = st.tuples(st.sampled_from([*KEYS, "url", "token_file", "other", "'rule'"]), VALUES)
LINES = HEADINGS | PAIRS.map(" = ".join) | PAIRS.map(".name = ".join) | st.text(max_size=12)
TEXTS = st.lists(LINES, max_size=12).map("\n".join)


@given(text=TEXTS | st.text())
@example(text="[[rule]]\nname = ['a']")
@example(text="[[rule]]\nname = {}")
@example(text="[[rule]]\nname = 'x'\nsigma = " + "1" * 400)
@example(text="[[rule]]\nname = 'x'\nsigma = " + "1" * 5_000)
@example(text="[[rule]]\nname = 0x" + "f" * 5_000)
@example(text="[[rule]]\nname = 'x'\noutputs = [0x" + "f" * 5_000 + "]")
@example(text="[destination.x]\nurl = 0x" + "f" * 5_000)
def test_any_text_ends_as_rules_or_as_sentences(text: str) -> None:
    rules: object = None
    with contextlib.suppress(RulesError):
        rules = parse_rules(text)
    assert rules is None or isinstance(rules, Rules)


@given(alpha=st.floats(1e-9, 0.5))
@example(alpha=0.00123456789)
def test_a_number_of_a_rule_is_the_number_of_the_request(alpha: float) -> None:
    try:
        (rule,) = parse_rules(f"[[rule]]\nname = 'x'\nalpha = {alpha!r}").rules
    except RulesError:
        return
    assert float(rule.fields["alpha"]) == alpha
