"""`certrad access`: the API keys of a data directory, on the machine of the API."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from certrad.workers.contract.access import SCOPES, Scope
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import Kind, choice, integer, text

if TYPE_CHECKING:
    from certrad.workers.contract.access_keys import AccessKey, NewKey

ACTIONS: Final = {
    "add": "make a key for the tenant NAME, and print it once",
    "list": "show the keys by their ids, without the keys themselves",
    "rotate": "make a key in place of the one with the id NAME, which stays in use beside it",
    "revoke": "refuse the key with the id NAME from now on, and end its sessions",
}


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("action", choice(*ACTIONS), "action")
    parser.argument("name", text("NAME"), "tenant of a new key, or id of a key", optional=True)
    parser.option("--scopes", _scopes(), "scopes of a new key, separated by commas")
    parser.option("--overlap", integer(0, 31_622_400), "seconds after which the old key of a rotation is refused")
    parser.flag("--json", "print machine-readable output")
    add_data_dir(parser)
    width = max(map(len, (*ACTIONS, *SCOPES))) + 2
    parser.epilog = "\n".join(
        ["actions:", *_lines(ACTIONS, width), "", "scopes:", *_lines({**SCOPES}, width)],
    )
    parser.check(_rules)


def _lines(meanings: dict[Any, str], width: int) -> list[str]:
    return [f"  {name:{width}}{meaning}" for name, meaning in meanings.items()]


def _scopes() -> Kind:
    """Returns the kind of several scopes."""

    def read(given: str) -> tuple[Scope, ...]:
        named = tuple(part.strip() for part in given.split(","))
        known = tuple(scope for scope in SCOPES if scope in named)
        if set(named) - set(known):
            raise ValueError(f"must be one or more of {', '.join(SCOPES)}, separated by commas")
        return known

    return Kind(read=read, metavar="SCOPES", values=", ".join(SCOPES))


def _rules(options: Namespace) -> Iterator[str]:
    if options.action is None:
        return
    if (options.action == "list") != (options.name is None):
        yield "`NAME` must be given with add, rotate and revoke, and goes with them only"
    if (options.action == "add") != (options.scopes is not None):
        yield "`--scopes` must be given with add, and goes with it only"
    if options.action != "rotate" and options.overlap is not None:
        yield "`--overlap` goes with rotate only"


def run(options: Namespace) -> int:
    """Shows the keys or changes one; a service that runs knows of the change at its next request.

    Returns:
        The exit code.
    """
    from certrad.workers.contract.access_keys import AccessKeys, KeyFileError
    from certrad.workers.contract.audit_events import AuditEvent
    from certrad.workers.contract.audit_trail import AuditTrail
    from certrad.workers.contract.settings import SharedSettings
    from certrad.workers.offline.settings import settings_of

    settings = settings_of(SharedSettings, options.data_dir)
    keys = AccessKeys(settings.access_dir)
    try:
        if options.action == "list":
            return _show(keys.all(), as_json=options.json)
        made = _change(keys, options)
    except ValueError as error:
        return fail(str(error), BAD_USAGE)
    except (OSError, KeyFileError) as error:
        return fail(str(error), FAILURE)
    kept = made if options.action == "revoke" else made.kept
    details = {"action": options.action, "tenant": kept.tenant, "key": kept.id, "scopes": " ".join(kept.scopes)}
    if options.action == "rotate":
        details["replaces"] = options.name
    AuditTrail(settings.audit_dir).record(AuditEvent(name="access_changed", process="access", details=details))
    if options.action == "revoke":
        sys.stdout.write(json.dumps(_view(kept)) + "\n" if options.json else f"{kept.id} is revoked\n")
    else:
        _print_once(made, as_json=options.json)
    return DONE


def _change(keys: Any, options: Namespace) -> Any:  # noqa: ANN401  # its module is imported when the command runs
    match options.action:
        case "add":
            return keys.add(options.name, options.scopes)
        case "rotate":
            return keys.rotate(options.name, overlap=options.overlap)
        case _:
            return keys.revoke(options.name)


def _print_once(made: "NewKey", *, as_json: bool) -> None:
    """Prints a new key: alone on standard output, so that a shell can take it, and what it is on standard error."""
    if as_json:
        sys.stdout.write(json.dumps({**_view(made.kept), "key": made.secret}) + "\n")
        return
    sys.stdout.write(made.secret + "\n")
    kept = made.kept
    sys.stderr.write(f"certrad: key {kept.id} of {kept.tenant} may {', '.join(kept.scopes)}; it is not shown again\n")


def _show(keys: "tuple[AccessKey, ...]", *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps([_view(key) for key in keys]) + "\n")
        return DONE
    for key in keys:
        view = _view(key)
        sys.stdout.write(f"{key.id}  {key.tenant:32}  {','.join(key.scopes):24}  {view['state']}\n")
    if not keys:
        sys.stderr.write("certrad: there is no key; `certrad access add TENANT --scopes submit,read` makes one\n")
    return DONE


def _view(key: "AccessKey") -> dict[str, Any]:
    """Returns what anyone may know of a key."""
    if key.revoked_at is not None:
        state = f"revoked at {_time(key.revoked_at)}"
    elif key.expires_at is not None:
        state = f"refused from {_time(key.expires_at)} on"
    else:
        state = "in use"
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": list(key.scopes),
        "created_at": _time(key.created_at),
        "expires_at": None if key.expires_at is None else _time(key.expires_at),
        "revoked_at": None if key.revoked_at is None else _time(key.revoked_at),
        "state": state,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
