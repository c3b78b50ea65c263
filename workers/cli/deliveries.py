"""`certrad deliveries`: what is on its way to a PACS, and what failed before there was anything to deliver."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import choice, integer

if TYPE_CHECKING:
    from certrad.workers.contract.audit_trail import AuditTrail
    from certrad.workers.pacs.database import Database

ACTIONS: Final = {
    "list": "show the deliveries that wait or were put aside, and what failed before there was a result",
    "retry": "try the delivery NUMBER at once, or all of them",
    "drop": "give the delivery NUMBER up and delete its bytes",
    "retry-failed": "certify the failed instance NUMBER again, or every instance and series that failed",
    "drop-failed": "give the failed instance NUMBER up, or every instance and series that failed",
}
_OF_FAILED: Final = ("retry-failed", "drop-failed")


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("action", choice(*ACTIONS), "action", optional=True)
    parser.argument("number", integer(1), "number of a delivery or of a failed instance, from the list", optional=True)
    parser.flag("--all", "list also what was delivered or dropped")
    parser.flag("--json", "print machine-readable output")
    add_data_dir(parser)
    parser.epilog = "actions:\n" + "\n".join(f"  {name:14}{meaning}" for name, meaning in ACTIONS.items())
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    action = options.action or "list"
    if action == "drop" and options.number is None:
        yield "`N` must be given with drop"
    if action == "list" and options.number is not None:
        yield "`N` does not go with list"
    if action != "list" and (options.all or options.json):
        yield "`--all` and `--json` go with list only"


def run(options: Namespace) -> int:
    """Lists deliveries and failures, or changes some.

    Returns:
        The exit code: 1 if some were put aside or failed, 2 if there is none of this number.
    """
    import sqlite3

    from certrad.workers.contract.audit_trail import AuditTrail
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.pacs.database import Database
    from certrad.workers.settings import ConnectorSettings

    settings = settings_of(ConnectorSettings, options.data_dir)
    try:
        database = Database(settings.pacs_dir)
    except (OSError, sqlite3.Error) as error:
        return fail(f"the database of the connector cannot be used: {type(error).__name__}", FAILURE)
    try:
        if options.action in (None, "list"):
            return _list(database, options)
        trail = AuditTrail(settings.audit_dir)
        return _change(database, trail, options.action, options.number)
    finally:
        database.close()


def _change(database: "Database", trail: "AuditTrail", action: str, number: int | None) -> int:
    from certrad.workers.pacs.instances import Instances
    from certrad.workers.pacs.outbox import Outbox
    from certrad.workers.pacs.pulls import Pulls

    if action in _OF_FAILED:
        instances, pulls = Instances(database), Pulls(database)
        again = action == "retry-failed"
        count = instances.retry(number) if again else instances.drop(number)
        if number is not None and not count:
            return fail(f"no instance {number} failed", BAD_USAGE)
        series = 0 if number is not None else pulls.retry() if again else pulls.drop()
        _record(trail, action, number, instances=count, series=series)
        sys.stdout.write(f"{_count(count, 'instance', 'instances')}, {series} series\n")
        return DONE
    outbox = Outbox(database)
    count = outbox.drop(number) if action == "drop" and number is not None else outbox.retry(number)
    if number is not None and not count:
        return fail(f"no delivery {number} waits or was put aside", BAD_USAGE)
    _record(trail, action, number, deliveries=count)
    sys.stdout.write(f"{_count(count, 'delivery', 'deliveries')}\n")
    return DONE


def _record(trail: "AuditTrail", action: str, number: int | None, **counts: int) -> None:
    """Records who must answer for a result that was given up, or that is tried again."""
    from certrad.workers.contract.audit_events import AuditEvent

    details = {"action": action, **{name: str(count) for name, count in counts.items()}}
    if number is not None:
        details["number"] = str(number)
    trail.record(AuditEvent(name="delivery_changed", process="cli", details=details))


def _list(database: "Database", options: Namespace) -> int:
    from certrad.workers.pacs.failures import FAILURES
    from certrad.workers.pacs.instances import Instances
    from certrad.workers.pacs.outbox import Outbox
    from certrad.workers.pacs.pulls import Pulls

    entries: list[dict[str, object]] = [
        {
            "kind": "delivery",
            "number": one.id,
            "output": one.output,
            "destination": one.destination,
            "state": one.state,
            "attempts": one.attempts,
            "created": _moment(one.created),
            "next": _moment(one.due) if one.state == "waiting" and one.due > 0 else None,
            "reason": one.reason,
        }
        for one in Outbox(database).listed(all_of_them=options.all)
    ]
    for instance in Instances(database).failed():
        of_instance = {"rule": instance.rule, "job": instance.job, "reason": instance.reason}
        entries.append({"kind": "instance", "number": instance.id, "state": "failed", **of_instance})
    entries += [
        {"kind": "series", "number": pull.id, "state": "failed", "reason": pull.reason}
        for pull in Pulls(database).failed()
    ]
    for entry in entries:
        failure = FAILURES.get(str(entry["reason"]))
        if options.json:
            sys.stdout.write(json.dumps({**entry, "what_to_do": failure.what_to_do if failure else None}) + "\n")
            continue
        why = f"  {entry['reason']}" if entry["reason"] else ""
        if failure:
            why += f": {failure.meaning} {failure.what_to_do}"
        sys.stdout.write(f"{_line(entry)}{why}\n")
    if not entries and not options.json:
        sys.stdout.write("nothing waits, and nothing failed\n")
    return FAILURE if any(entry["state"] in ("put_aside", "failed") for entry in entries) else DONE


def _line(entry: dict[str, object]) -> str:
    if entry["kind"] == "delivery":
        state = str(entry["state"]).replace("_", " ")
        return (
            f"{entry['number']:6}  {entry['output']}  to {entry['destination']}  {state}, "
            f"{entry['attempts']} refused, since {entry['created']}"
        )
    by = f"  by the rule {entry['rule']!r}" if "rule" in entry else ""
    return f"{entry['number']:6}  {entry['kind']}{by}  failed"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
