"""README's tables say what the code says."""

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from certrad.app.api.remedies import REMEDIES
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS
from certrad.workers.contract.names import EVENTS, PHASES, STATUSES
from certrad.workers.settings import StackSettings

README = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")


def problem_row(code: str) -> str:
    remedy = REMEDIES[code]
    return f"| `{code}` | {remedy.status} | {PROBLEMS[code].raised_if} | {remedy.what_to_do} |"


def settings_rows(kind: type[BaseSettings]) -> dict[str, str]:
    """One row per setting; a default that depends on the machine is shown in words by its description."""
    rows = {}
    for name, field in kind.model_fields.items():
        default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        rows[name] = f"| `CERTRAD_{name.upper()}` | {default} | {field.description} |"
    return rows


SETTINGS = {**settings_rows(ApiSettings), **settings_rows(StackSettings)}


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_every_error_code_is_in_readme_with_its_cause_and_remedy(code: str) -> None:
    assert problem_row(code) in README


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_is_in_readme_with_its_default(name: str) -> None:
    assert SETTINGS[name] in README


def test_readme_names_no_error_code_that_does_not_exist() -> None:
    section = README.split("### Errors")[1].split("### Settings")[0]
    named = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert named == set(PROBLEMS)


@pytest.mark.parametrize("table", [STATUSES, PHASES, EVENTS], ids=["statuses", "phases", "events"])
def test_every_status_phase_and_event_is_in_readme(table: dict[str, str]) -> None:
    missing = [name for name, meaning in table.items() if f"`{name}` {meaning}" not in README]
    assert missing == []
