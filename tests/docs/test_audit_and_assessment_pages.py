"""The pages about the audit trail and about assessments name what the code has, with its codes."""

import re
from typing import Final

from certrad.workers.contract.assessments import REASONS, VERDICTS
from certrad.workers.contract.audit_events import KINDS
from tests.support.documentation import DOCS

OUTCOMES: Final = {
    "both outcomes": {"certified", "abstained"},
    "a certified class": {"certified"},
    "an abstention": {"abstained"},
}
"""What the table says of an outcome -> the outcomes."""


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table."""
    text = (DOCS / page).read_text("utf-8")
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)]


def test_every_event_is_in_the_table_with_its_code() -> None:
    told = {name: cells[2] for cells in rows("audit_trail.md") for name in re.findall(r"`(\w+)`", cells[0])}
    assert set(told) == set(KINDS)
    for name, kind in KINDS.items():
        assert kind.type[0] in told[name]
        assert kind.subtype is None or kind.subtype[0] in told[name]


def test_every_reason_is_in_the_table_with_its_meaning_and_verdicts() -> None:
    told = {cells[0].strip("`"): cells[1:] for cells in rows("assessments.md") if cells[0].strip("`") in REASONS}
    assert set(told) == set(REASONS)
    for code, reason in REASONS.items():
        meaning, verdicts, outcomes = told[code]
        assert meaning == reason.meaning
        named = set(VERDICTS) if verdicts == "all" else set(re.findall(r"`(\w+)`", verdicts))
        assert named == set(reason.verdicts)
        assert OUTCOMES[outcomes] == set(reason.outcomes)
