"""The command line: the search for a command, and the commands that run on this machine."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from certrad.workers.contract.arguments import Parser, UsageError
from certrad.workers.contract.exit_codes import BAD_USAGE, RefusalError, fail


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        module: Its `add_arguments(parser)` declares the options, its `run(options)` returns the exit code.
        summary: Says what it does, in one line without a full stop.
    """

    module: str
    summary: str


COMPUTING: Final[Mapping[str, Command]] = {
    "up": Command("certrad.workers.cli.up", "Run the whole service on this machine until SIGTERM"),
    "worker": Command("certrad.workers.cli.worker", "Run one worker alone, against CERTRAD_REDIS_URL"),
    "worker-health": Command(
        "certrad.workers.cli.worker_health", "Say whether this machine's worker works, for a probe"
    ),
    "verify": Command("certrad.workers.cli.verify", "Check a certificate by itself, or by drawing its samples again"),
    "evaluate": Command("certrad.workers.cli.evaluate", "Measure certified accuracy on a labelled data set"),
    "plot": Command("certrad.workers.cli.plot", "Plot certified accuracy against radius, from tables of `evaluate`"),
    "attack": Command("certrad.workers.cli.attack", "Attack images, without and with knowledge of the prompt"),
    "audit": Command("certrad.workers.cli.audit", "Attack certified images, and count contradicted certificates"),
    "selftest": Command("certrad.workers.cli.selftest", "Test this machine against stored references, for acceptance"),
    "evidence": Command("certrad.workers.cli.evidence", "Gather signed evidence about a task for a regulatory file"),
    "evidence verify": Command("certrad.workers.cli.evidence_verify", "Check that no file of evidence was changed"),
    "fetch": Command("certrad.workers.cli.fetch", "Download the weights of a backbone and pin their digest"),
    "adapt-encoder": Command(
        "certrad.workers.cli.adapt_encoder", "Train an adapter of an image encoder for noise, on unlabelled images"
    ),
    "calibrate-sets": Command(
        "certrad.workers.cli.calibrate_sets", "Calibrate prediction sets on a site's labelled images, or test them"
    ),
    "prompts import": Command("certrad.workers.cli.import_prompt", "Import a published prompt checkpoint"),
    "prompts calibrate": Command("certrad.workers.cli.calibrate", "Adapt a prompt to unlabelled images of a site"),
    "prompts bank": Command("certrad.workers.cli.tune_bank", "Tune a bank of prompts on labelled images"),
    "prompts words": Command("certrad.workers.cli.nearest_words", "Show the words nearest to a prompt's vectors"),
    "pacs run": Command("certrad.workers.cli.pacs_run", "Run the connector to the PACS of CERTRAD_PACS_URL alone"),
    "pacs check": Command("certrad.workers.cli.pacs_check", "Test the connection to the PACS, step by step"),
    "deliveries": Command("certrad.workers.cli.deliveries", "List, retry or drop what is on its way to a PACS"),
    "callbacks run": Command("certrad.workers.cli.callbacks_run", "Send callbacks, until SIGTERM"),
    "callbacks": Command("certrad.workers.cli.callbacks", "List, retry or drop callbacks, or show a tenant's secret"),
    "rules test": Command("certrad.workers.cli.rules_test", "Show what the rules do with an image"),
    "assessments": Command("certrad.workers.cli.assessments", "Show how often readers agreed with the results"),
    "erase": Command("certrad.workers.cli.erase", "Erase everything about one patient's jobs"),
    "audit-trail verify": Command(
        "certrad.workers.cli.audit_trail_verify", "Check that no line of the audit trail was changed or removed"
    ),
    "access": Command("certrad.workers.cli.access", "Show or change the API keys of this machine's service"),
    "keys": Command("certrad.workers.cli.keys", "Show or change the signing keys and epoch secrets of this machine"),
}
"""The commands that run on this machine, by name; their modules import no torch, numpy or scipy to check options."""


def find(arguments: Sequence[str], commands: Mapping[str, Command]) -> str | None:
    """Returns the name of the command that arguments begin with: one word, or two as in `prompts words`."""
    for words in (2, 1):
        if (name := " ".join(arguments[:words])) in commands:
            return name
    return None


def run(name: str, command: Command, arguments: Sequence[str]) -> int:
    """Runs one command; it imports the module of this command alone.

    Args:
        name: The name of the command.
        command: Its module.
        arguments: The words after its name.

    Returns:
        The exit code.
    """
    module = importlib.import_module(command.module)
    parser = Parser(name, command.summary)
    module.add_arguments(parser)
    try:
        options = parser.parse(arguments)
    except UsageError as error:
        for problem in error.problems:
            fail(problem, BAD_USAGE)
        return BAD_USAGE
    try:
        return int(module.run(options))
    except RefusalError as refusal:
        return fail(str(refusal), refusal.code)
    except ValueError as error:
        if (problems := _wrong_settings(error)) is None:
            raise
        for problem in problems:
            fail(problem, BAD_USAGE)
        return BAD_USAGE


def _wrong_settings(error: ValueError) -> list[str] | None:
    """Returns what is wrong in the environment, without the values; None if something else is wrong.

    The type is known by its name, since most commands run without pydantic.
    """
    if type(error).__name__ != "ValidationError" or not str(getattr(error, "title", "")).endswith("Settings"):
        return None
    listed: list[dict[str, Any]] = error.errors(include_input=False)  # type: ignore[attr-defined]
    return [f"CERTRAD_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in listed]
