"""`certrad callbacks`: what was not sent to receivers yet, and what was given up."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from certrad.workers.contract.access import LOCAL_TENANT, TENANT_FORM, is_tenant
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import choice, text

if TYPE_CHECKING:
    from redis import Redis

    from certrad.workers.callbacks.store import CallbackStore
    from certrad.workers.settings import CallbackSettings

ACTIONS: Final = {
    "list": "show the callbacks that wait or were given up",
    "retry": "begin anew with the callback of JOB, or with all that were given up",
    "drop": "forget the callback of JOB, or all that were given up",
    "secret": "show the secret with which the receivers of --tenant check signatures",
}


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("action", choice(*ACTIONS), "action", optional=True)
    parser.argument("job", text("JOB"), "id of a job", optional=True)
    parser.option("--tenant", text("NAME"), "tenant whose secret is shown", default=LOCAL_TENANT)
    parser.flag("--json", "print machine-readable output")
    add_data_dir(parser)
    parser.epilog = "actions:\n" + "\n".join(f"  {name:14}{meaning}" for name, meaning in ACTIONS.items())
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    action = options.action or "list"
    if action in ("list", "secret") and options.job is not None:
        yield f"`JOB` does not go with {action}"
    if action != "list" and options.json:
        yield "`--json` goes with list only"
    if action != "secret" and options.tenant != LOCAL_TENANT:
        yield "`--tenant` goes with secret only"
    if not is_tenant(options.tenant):
        yield f"`--tenant` must be {TENANT_FORM}"


def run(options: Namespace) -> int:
    """Lists callbacks, changes some, or shows a secret.

    Returns:
        The exit code: 1 if some were given up, 2 if there is none of this job.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    from certrad.workers.callbacks.store import CallbackStore
    from certrad.workers.contract.redis_access import redis_options
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import CallbackSettings

    settings = settings_of(CallbackSettings, options.data_dir)
    if options.action == "secret":
        return _show_secret(settings, options.tenant)
    try:
        with Redis.from_url(**redis_options(settings)) as redis:
            store = CallbackStore(redis)
            if options.action in (None, "list"):
                return _list(store, as_json=options.json)
            return _change(store, settings, redis, options)
    except RedisError as error:
        return fail(f"Redis cannot be used: {type(error).__name__}", FAILURE)


def _show_secret(settings: "CallbackSettings", tenant: str) -> int:
    from certrad.workers.callbacks.message import secret_of

    if settings.callback_secret is None:
        return fail("CERTRAD_CALLBACK_SECRET or CERTRAD_CALLBACK_SECRET_FILE must be set", BAD_USAGE)
    try:
        shown = secret_of(tenant, settings.callback_secret.get_secret_value())
    except ValueError as error:
        return fail(f"CERTRAD_CALLBACK_SECRET {error}", BAD_USAGE)
    sys.stdout.write(f"{shown}\n")
    return DONE


def _change(store: "CallbackStore", settings: "CallbackSettings", redis: "Redis", options: Namespace) -> int:
    from certrad.workers.contract.audit import open_trail
    from certrad.workers.contract.audit_events import AuditEvent

    changed = store.drop(options.job) if options.action == "drop" else store.restart(options.job, time.time())
    if options.job is not None and not changed:
        return fail("no callback of this job waits or was given up", BAD_USAGE)
    open_trail(settings, redis).record(
        AuditEvent(
            name="callback_changed",
            process="cli",
            job=options.job,
            details={"action": options.action, "callbacks": str(changed)},
        )
    )
    sys.stdout.write(f"{changed} {'callback' if changed == 1 else 'callbacks'}\n")
    return DONE


def _list(store: "CallbackStore", *, as_json: bool) -> int:
    listed = [("waiting", *each) for each in store.waiting()] + [("given up", *each) for each in store.dead()]
    entries = [
        {
            "job": note.job,
            "tenant": note.tenant,
            "host": urlsplit(note.address).netloc,  # the rest of an address may be a secret, or about a patient
            "status": note.status,
            "ended": _moment(note.ended_at),
            "state": state,
            "attempts": note.attempts,
            "reason": note.reason,
            "due" if state == "waiting" else "given_up": _moment(at),
        }
        for state, note, at in listed
    ]
    if as_json:
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
    for entry in [] if as_json else entries:
        reason = f": {entry['reason']}" if entry["reason"] else ""
        whom = f"{entry['job']}  {entry['status']}  to {entry['host']}"
        sys.stdout.write(f"{whom}  {entry['state']}, {entry['attempts']} tried{reason}\n")
    if not entries and not as_json:
        sys.stdout.write("no callback waits, and none was given up\n")
    return FAILURE if any(entry["state"] == "given up" for entry in entries) else DONE


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
