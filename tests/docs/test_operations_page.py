"""The page of operations names every code of a service in trouble, and every setting that keeps something."""

import re
from typing import Final

from certrad.app.api.remedies import REMEDIES
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS
from certrad.workers.contract import exit_codes
from certrad.workers.contract.data_version import DATA_VERSION, MIGRATIONS
from certrad.workers.settings import CallbackSettings, ConnectorSettings, StackSettings
from tests.support.documentation import DOCS

PAGE: Final = (DOCS / "operations.md").read_text("utf-8")
KEEPS: Final = re.compile(r".*(_ttl|_days)|session_seconds")
SETTINGS: Final = {
    f"CERTRAD_{name.upper()}"
    for kind in (ApiSettings, StackSettings, ConnectorSettings, CallbackSettings)
    for name in kind.model_fields
}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    ][2:]


def test_every_setting_that_keeps_something_is_in_the_table_of_retention() -> None:
    named = set(re.findall(r"`(CERTRAD_\w+)`", section("What is kept, and for how long")))
    assert named == {name for name in SETTINGS if KEEPS.fullmatch(name.removeprefix("CERTRAD_").lower())}


def test_times_of_the_table_are_the_defaults() -> None:
    told = {cells[3].strip("`"): cells[2] for cells in rows(section("What is kept, and for how long"))}
    assert (told["CERTRAD_JOB_TTL"][:5], StackSettings.model_fields["job_ttl"].default) == ("a day", 86_400)
    assert told["CERTRAD_CALLBACK_DAYS"].endswith("three days at most")
    assert CallbackSettings.model_fields["callback_days"].default == 3
    assert (told["CERTRAD_OUTPUT_TTL"][:7], StackSettings.model_fields["output_ttl"].default) == ("an hour", 3_600)
    assert (
        told["CERTRAD_PACS_RETENTION_DAYS"] == f"{ConnectorSettings.model_fields['pacs_retention_days'].default:g} days"
    )
    assert told["CERTRAD_AUDIT_RETENTION_DAYS"].startswith("six years")
    assert StackSettings.model_fields["audit_retention_days"].default == 6 * 365


def test_incidents_are_of_codes_that_there_are_and_tell_what_to_do() -> None:
    found = rows(section("When something is wrong"))
    codes = {code for cells in found for code in re.findall(r"`([a-z]+_[a-z_]+)`", cells[0])}
    assert codes <= set(PROBLEMS)
    assert all(len(cells) == 3 and all(cells) for cells in found)
    assert len(found) >= 20


def test_every_refusal_of_a_busy_or_broken_service_has_a_row() -> None:
    text = section("When something is wrong")
    passing = {code for code, remedy in REMEDIES.items() if remedy.status in (429, 503)}
    assert {code for code in passing if f"`{code}`" not in text} <= {"model_unavailable"}


def test_every_exit_code_above_the_usual_ones_has_a_row() -> None:
    text = section("When something is wrong")
    for code in (exit_codes.OTHER_DATA, exit_codes.SELFTEST_FAILED, exit_codes.REDIS_AWAY):
        assert f"exit code {code}" in text


def test_every_setting_that_the_page_names_exists() -> None:
    files = {f"{name}_FILE" for name in SETTINGS}
    named = set(re.findall(r"`(CERTRAD_[A-Z_]+)`", PAGE))
    assert named - SETTINGS - files == set()


def test_every_data_version_is_in_the_table_of_upgrades() -> None:
    table = {cells[0]: cells[2] for cells in rows((DOCS / "upgrading.md").read_text("utf-8")) if len(cells) == 3}
    assert {int(number) for number in table if number.isdigit()} == set(range(1, DATA_VERSION + 1))
    for number, migration in MIGRATIONS.items():
        assert table[str(number)] == migration.meaning
