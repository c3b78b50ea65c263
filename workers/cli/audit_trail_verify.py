"""`certrad audit-trail verify`: whether every line of the audit trail names the one before it."""

import json
import sys
from argparse import Namespace
from dataclasses import asdict

from certrad.workers.cli.common import add_json
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.audit_chain import ChainReport, check_chain, read_head
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import Kind


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.option(
        "--head",
        Kind(read=read_head, metavar="NUMBER:SHA256"),
        "last line that an earlier run printed; lines removed from the end show by it only",
    )
    add_data_dir(parser)
    add_json(parser)


def run(options: Namespace) -> int:
    """Checks the trail and prints what it finds.

    Returns:
        The exit code: 0 in order, 1 broken, 2 without a trail that can be read.
    """
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import WorkerSettings

    directory = settings_of(WorkerSettings, options.data_dir).audit_dir
    if not directory.is_dir():
        return fail(f"there is no audit trail in {directory}", BAD_USAGE)
    try:
        report = check_chain(directory, noted=options.head)
    except OSError as error:
        return fail(f"the audit trail in {directory} cannot be read: {error.strerror}", BAD_USAGE)
    if options.json:
        shown = {**asdict(report), "head": str(report.head), "intact": report.fault is None}
        sys.stdout.write(json.dumps(shown) + "\n")
    else:
        sys.stdout.write(_text(report))
    return DONE if report.fault is None else FAILURE


def _text(report: ChainReport) -> str:
    if report.fault is not None:
        where = f"{report.fault.file}, line {report.fault.line}: " if report.fault.line else ""
        return f"The audit trail is broken. {where}{report.fault.reason}.\n"
    if report.first == 0:
        return "The audit trail has no lines.\n"
    lines = [f"The audit trail is in order: lines {report.first} to {report.head.number} in {report.files} files."]
    if report.unfinished:
        lines.append("Its last line is unfinished; the next event removes it and says so.")
    lines.append(f"Head, to note elsewhere: {report.head}")
    return "\n".join([*lines, ""])
