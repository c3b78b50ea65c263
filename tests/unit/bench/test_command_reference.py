"""docs/commands.md says what the commands declare."""

from certrad.app.cli.main import REQUESTS
from certrad.bench.common.machine import this_machine
from certrad.bench.demo.command_reference import COMMANDS, WHEN, reference
from certrad.bench.measure import command_start
from certrad.workers.contract.commands import COMPUTING, find
from tests.support.processes import ROOT


def test_the_page_is_current() -> None:
    """If not: `python -m certrad.bench command-reference > docs/commands.md`."""
    assert (ROOT / "docs" / "commands.md").read_text("utf-8") == reference()


def test_the_table_names_commands_that_there_are_and_every_command_that_is_for_people() -> None:
    named = {find(command.split()[1:], COMMANDS) for _, commands in WHEN for command in commands.split(", ")}
    assert None not in named
    assert set(COMMANDS) - named == {"jobs", "prompts show", "prompts words"}


def test_the_seconds_of_every_command_are_told_beside_the_aims() -> None:
    starts = command_start.CommandStarts(
        commands=tuple(
            command_start.CommandStart(command=name, usage_error=0.25, help=0.125) for name in (*REQUESTS, *COMPUTING)
        ),
        rounds=1,
        machine=this_machine(),
    )
    told = command_start.as_text(starts)
    assert "slowest usage error 0.25 s (aim 2), slowest help 0.12 s (aim 0.5)" in told
    assert all(f"\n  {name:20}" in told for name in COMMANDS)


def test_a_command_is_really_started() -> None:
    assert command_start.seconds("cancel", "--help") > 0
