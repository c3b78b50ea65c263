"""`certrad deliveries`: what is on its way to a PACS."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.commands import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import choice, integer

if TYPE_CHECKING:
    from certrad.workers.pacs.outbox import Outbox

ACTIONS: Final = {
    "list": "show the deliveries that wait or were put aside",
    "retry": "try the delivery NUMBER at once, or all of them",
    "drop": "give the delivery NUMBER up and delete its bytes",
}


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("action", choice(*ACTIONS), "action", optional=True)
    parser.argument("number", integer(1), "number of a delivery, from the list", optional=True)
    parser.flag("--all", "list also what was delivered or dropped")
    parser.flag("--json", "print machine-readable output")
    add_data_dir(parser)
    parser.epilog = "actions:\n" + "\n".join(f"  {name:7}{meaning}" for name, meaning in ACTIONS.items())
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    action = options.action or "list"
    if action == "drop" and options.number is None:
        yield "`N` must be given with drop"
    if action == "list" and options.number is not None:
        yield "`N` goes with retry and drop only"
    if action != "list" and (options.all or options.json):
        yield "`--all` and `--json` go with list only"


def run(options: Namespace) -> int:
    """Lists deliveries, or changes some.

    Returns:
        The exit code: 1 if there is no such delivery, or if some were put aside.
    """
    import sqlite3

    from certrad.workers.offline.settings import settings_of
    from certrad.workers.pacs.database import Database
    from certrad.workers.pacs.outbox import Outbox
    from certrad.workers.settings import ConnectorSettings

    settings = settings_of(ConnectorSettings, options.data_dir)
    try:
        database = Database(settings.pacs_dir)
    except (OSError, sqlite3.Error) as error:
        return fail(f"the database of the connector cannot be used: {type(error).__name__}", FAILURE)
    outbox = Outbox(database)
    try:
        if options.action in (None, "list"):
            return _list(outbox, options)
        count = outbox.retry(options.number) if options.action == "retry" else outbox.drop(options.number)
        if options.number is not None and not count:
            return fail(f"no delivery {options.number} waits or was put aside", BAD_USAGE)
        sys.stdout.write(f"{count} {'delivery' if count == 1 else 'deliveries'}\n")
        return DONE
    finally:
        database.close()


def _list(outbox: "Outbox", options: Namespace) -> int:
    from certrad.workers.pacs.failures import FAILURES

    found = outbox.listed(all_of_them=options.all)
    for one in found:
        failure = FAILURES.get(one.reason or "")
        entry = {
            "number": one.id,
            "output": one.output,
            "destination": one.destination,
            "state": one.state,
            "attempts": one.attempts,
            "created": _moment(one.created),
            "next": _moment(one.due) if one.state == "waiting" and one.due > 0 else None,
            "reason": one.reason,
            "what_to_do": failure.what_to_do if failure else None,
        }
        if options.json:
            sys.stdout.write(json.dumps(entry) + "\n")
        else:
            why = f"  {one.reason}: {failure.meaning} {failure.what_to_do}" if failure else ""
            sys.stdout.write(
                f"{one.id:6}  {one.output}  to {one.destination}  {one.state}, {one.attempts} refused, "
                f"since {_moment(one.created)}{why}\n"
            )
    if not found and not options.json:
        sys.stdout.write("nothing waits\n")
    return FAILURE if any(one.state == "dead" for one in found) else DONE


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
