"""The tables of docs/access.md say what the code does."""

import re

from certrad.app.api.scopes import NEEDED
from certrad.workers.contract.access import SCOPES
from tests.support.documentation import DOCS


def rows() -> list[list[str]]:
    """The cells of every row of the page's tables."""
    page = (DOCS / "access.md").read_text()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]


def test_each_operation_stands_with_its_scopes() -> None:
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows() if row[0].strip("`") in NEEDED}
    assert told == {operation: set(scopes) for operation, scopes in NEEDED.items()}


def test_each_scope_stands_with_its_meaning() -> None:
    assert {row[0].strip("`"): row[1] for row in rows() if row[0].strip("`") in SCOPES} == SCOPES
