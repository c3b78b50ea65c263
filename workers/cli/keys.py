"""`certrad keys`: the signing keys and epoch secrets of a data directory, on the machine that holds them."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import choice, moment, text

if TYPE_CHECKING:
    from certrad.workers.settings import StackSettings

ACTIONS: Final = {
    "list": "show the public keys and the epochs by their digests, as JSON",
    "export": "print the public keys that are not revoked in the form of --format, for other tools",
    "rotate-signing": "sign with a new key from now on; what the old key signed stays valid",
    "revoke-signing": "refuse everything that the retired key SHA256 signed, for ever; use it when the key has leaked",
    "rotate-epoch": "draw the noise of new jobs with a new secret from now on; running jobs keep theirs",
    "reveal-epoch": "make the retired secret SHA256 public, so that anyone can compute the noise keys drawn from it",
}


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("action", choice(*ACTIONS), "action")
    parser.argument("sha256", text("SHA256"), "SHA-256 of the key to revoke, or of the secret to reveal", optional=True)
    parser.option("--reason", text("TEXT"), "reason of a revocation, for everyone to read")
    parser.option(
        "--leaked-at",
        moment(),
        "time before which nobody else had the revoked key: what was time stamped earlier stays valid",
    )
    parser.option("--format", choice("pem", "jwk"), "form of exported keys")
    add_data_dir(parser)
    width = max(map(len, ACTIONS)) + 2
    parser.epilog = "actions:\n" + "\n".join(f"  {name:{width}}{meaning}" for name, meaning in ACTIONS.items())
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    of_one = options.action in ("revoke-signing", "reveal-epoch")
    if options.action is None:
        return
    if of_one and options.sha256 is None:
        yield f"`SHA256` must be given with {options.action}"
    if not of_one and options.sha256 is not None:
        yield f"`SHA256` goes with revoke-signing and reveal-epoch only; got {options.sha256!r}"
    if options.action == "revoke-signing" and options.reason is None:
        yield "`--reason` must be given with revoke-signing"
    if options.action != "revoke-signing" and options.reason is not None:
        yield f"`--reason` goes with revoke-signing only; got {options.reason!r}"
    if options.action != "revoke-signing" and options.leaked_at is not None:
        yield "`--leaked-at` goes with revoke-signing only"
    if (options.action == "export") != (options.format is not None):
        yield "`--format` must be given with export, and goes with it only"


def run(options: Namespace) -> int:
    """Shows the keys, or changes one and publishes the change if the service runs.

    Returns:
        The exit code.
    """
    from certrad.workers.contract.audit_events import AuditEvent
    from certrad.workers.contract.audit_trail import AuditTrail
    from certrad.workers.keys import admin
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import StackSettings

    settings = settings_of(StackSettings, options.data_dir)
    if options.action == "export":
        sys.stdout.write(admin.export_keys(settings, options.format))
        return DONE
    try:
        match options.action:
            case "list":
                answer = admin.list_keys(settings)
            case "rotate-signing":
                answer = admin.rotate_signing(settings)
            case "revoke-signing":
                answer = admin.revoke_signing(settings, options.sha256, options.reason, options.leaked_at)
            case "rotate-epoch":
                answer = admin.rotate_epoch(settings)
            case _:
                answer = admin.reveal_epoch(settings, options.sha256)
    except (OSError, ValueError) as error:
        return fail(str(error), FAILURE)
    if options.action != "list":
        changed = str(answer.get("sha256") or answer.get("public_key"))
        AuditTrail(settings.audit_dir).record(
            AuditEvent(name="keys_changed", process="keys", details={"action": options.action, "key": changed})
        )
    sys.stdout.write(json.dumps(answer) + "\n")
    return DONE if options.action == "list" else _publish(settings)


def _publish(settings: "StackSettings") -> int:
    """Publishes the keys, and returns the exit code; the change is made, whether Redis takes it or not."""
    from redis.exceptions import RedisError

    from certrad.workers.keys import admin
    from certrad.workers.offline.service_redis import running_redis

    try:
        with running_redis(settings, otherwise="it publishes its keys once it starts") as redis:
            admin.publish(settings, redis)
    except RedisError as error:
        name = type(error).__name__
        return fail(f"the change is made; Redis refuses to publish it ({name}): start the service again", FAILURE)
    return DONE
