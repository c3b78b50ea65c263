"""The reference of the command line, from the declarations of its options.

python -m certrad.bench command-reference > docs/commands.md
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping

from certrad.app.cli.main import GROUPS, REQUESTS
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.commands import COMPUTING, Command
from certrad.workers.contract.exit_codes import ABSTAINED, BAD_USAGE, DONE, FAILURE, INTERRUPTED, OTHER_DATA

COMMANDS: Mapping[str, Command] = {**REQUESTS, **COMPUTING}

WHEN = (
    ("see what the service does, with images it brings along", "certrad demo"),
    ("run the service on this machine", "certrad up"),
    ("certify your own images with a running service", "certrad certify FILE... --save DIR"),
    ("certify your own images without a running service", "certrad certify FILE... --local"),
    ("get the certificate of a job, or stop one", "certrad certificate JOB, certrad cancel JOB"),
    ("check a certificate that you were given", "certrad verify FILE --key KEYS"),
    ("adapt the classifier with labelled images of your site", "certrad tune IMAGES, certrad prompts bank"),
    ("adapt it with images without labels", "certrad prompts calibrate"),
    ("make the image encoder robust to noise, with images without labels", "certrad adapt-encoder --images DIR"),
    ("calibrate lists of classes that rarely miss the correct one", "certrad calibrate-sets --images DIR"),
    ("use a prompt that other code tuned", "certrad prompts import FILE"),
    ("choose which prompt a task uses", "certrad prompts list, certrad prompts default ID --task TASK"),
    ("take a prompt out of use, or back", "certrad prompts withdraw ID, certrad prompts restore ID"),
    ("take an adapter out of use, or back", "certrad adapters withdraw ID, certrad adapters restore ID"),
    ("measure certified accuracy on labelled images", "certrad evaluate --task TASK --data DIR --plot FILE"),
    ("compare several evaluations in one plot", "certrad plot TSV... --out FILE"),
    ("measure accuracy under attack", "certrad attack DIR"),
    ("look for certificates that an attack contradicts", "certrad audit --images DIR"),
    ("see how often readers agreed with the results", "certrad assessments"),
    ("use a published backbone", "certrad fetch NAME"),
    ("certify a study of the PACS", "certrad certify --study UID"),
    ("test the connection to the PACS, or a rule", "certrad pacs check, certrad rules test FILE"),
    ("see what did not reach the PACS yet", "certrad deliveries"),
    ("change, revoke or reveal keys", "certrad keys ACTION"),
    ("erase what is kept of a patient", "certrad erase --reference R"),
    ("let somebody in, or lock somebody out", "certrad access add TENANT, certrad access revoke ID"),
    ("accept a machine, or look whether it still computes right", "certrad selftest"),
    ("ask whether a worker works, as a probe of a container does", "certrad worker-health"),
    ("see which callbacks did not reach their receiver", "certrad callbacks"),
    ("gather what a regulator asks for, and check it", "certrad evidence, certrad evidence verify DIR"),
    ("check the audit trail", "certrad audit-trail verify"),
    (
        "run API, workers, the connector to a PACS and the sender of callbacks on several machines",
        "certrad api, certrad worker QUEUE, certrad pacs run, certrad callbacks run",
    ),
)
"""Goals of a person, each with the command for it."""

EXIT_CODES = (
    (DONE, "done: every image is certified, the document is valid, the prompt is there"),
    (FAILURE, "failure: something did not work, a document is not valid, an audit found a contradiction"),
    (
        BAD_USAGE,
        "bad usage, or the service refused a request of `certify` or `tune` as invalid (422); other files may be done",
    ),
    (
        OTHER_DATA,
        "other data: the data directory or Redis is of a release that this one does not know; see upgrading.md",
    ),
    (ABSTAINED, "abstained: `certrad certify` got at least one abstention and nothing worse"),
    (INTERRUPTED, "interrupted by Ctrl+C"),
)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no option."""


def run(_: argparse.Namespace) -> None:
    """Print the reference."""
    print(reference(), end="")


def reference() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "This page is made from the code: `python -m certrad.bench command-reference > docs/commands.md`."
    yield "`certrad COMMAND --help` shows the same text."
    yield ""
    yield "## Which command when"
    yield ""
    yield "| you want to | command |"
    yield "|---|---|"
    for wish, commands in WHEN:
        yield f"| {wish} | {', '.join(f'`{command}`' for command in commands.split(', '))} |"
    yield ""
    yield "## Exit codes"
    yield ""
    yield "| code | meaning |"
    yield "|---|---|"
    for code, meaning in EXIT_CODES:
        yield f"| {code} | {meaning} |"
    for group, names in GROUPS.items():
        yield ""
        yield f"## {group}"
        for name in names:
            yield from _command(name)


def _command(name: str) -> Iterator[str]:
    parser = Parser(name, COMMANDS[name].summary)
    importlib.import_module(COMMANDS[name].module).add_arguments(parser)
    yield ""
    yield f"### certrad {name}"
    yield ""
    yield f"{COMMANDS[name].summary}."
    yield ""
    yield "```"
    yield parser.format_usage().removeprefix("usage: ").rstrip()
    yield "```"
    if parser.declarations:
        yield ""
        yield "| option | meaning | values and default |"
        yield "|---|---|---|"
        for one in parser.declarations:
            cells = (f"`{one.usage}`", one.meaning, one.facts)
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    if parser.epilog:
        yield ""
        yield "```"
        yield from parser.epilog.splitlines()
        yield "```"
