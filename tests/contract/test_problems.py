"""Every error code makes a valid problem with one remedy, and no code outside the table can be raised."""

import pytest
from pydantic import TypeAdapter

from certrad.app.api.problems import ProblemBody, problem, problem_response
from certrad.app.api.remedies import REMEDIES
from certrad.models.errors import PROBLEMS, Rejected


def test_every_code_has_one_remedy() -> None:
    assert set(REMEDIES) == set(PROBLEMS)


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_code_makes_a_valid_problem(code: str) -> None:
    body = TypeAdapter(ProblemBody).validate_python(problem(code))
    assert body.type == f"urn:certrad:problem:{code}"
    assert 400 <= body.status <= 599
    assert body.detail


@pytest.mark.parametrize("code", [code for code, remedy in REMEDIES.items() if remedy.status == 503])
def test_service_that_is_away_says_when_to_come_back(code: str) -> None:
    assert int(problem_response(code).headers["retry-after"]) > 0


def test_code_that_is_not_in_the_table_cannot_be_raised() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        Rejected("nonsense", "")
