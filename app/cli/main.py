"""The command `certrad`: runs the module of a command, or becomes the process that computes."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from certrad.app.cli.offline import become
from certrad.workers.contract.commands import COMPUTING, Command, find, run
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, INTERRUPTED, fail

REQUESTS: Final[Mapping[str, Command]] = {
    "certify": Command("certrad.app.cli.certify", "Certify images: a class with a certified radius, or an abstention"),
    "jobs": Command("certrad.app.cli.jobs", "List the newest jobs"),
    "certificate": Command("certrad.app.cli.certificate", "Print or save the certificate of a job"),
    "cancel": Command("certrad.app.cli.cancel", "Cancel a job that has not ended"),
    "tune": Command("certrad.app.cli.tune", "Tune a prompt on labelled images"),
    "prompts list": Command("certrad.app.cli.prompts.list", "List the prompts in use"),
    "prompts show": Command("certrad.app.cli.prompts.show", "Show the card of a prompt: how it was tuned and measured"),
    "prompts default": Command("certrad.app.cli.prompts.default", "Make a prompt the default of a task"),
    "prompts withdraw": Command("certrad.app.cli.prompts.withdraw", "Take a prompt out of use; certificates stay"),
    "prompts restore": Command("certrad.app.cli.prompts.restore", "Put a withdrawn prompt into use again"),
    "adapters withdraw": Command("certrad.app.cli.adapters.withdraw", "Take an adapter out of use; certificates stay"),
    "adapters restore": Command("certrad.app.cli.adapters.restore", "Put a withdrawn adapter into use again"),
    "demo": Command("certrad.app.cli.demo", "Certify real DICOM images with a private service"),
    "api": Command("certrad.app.cli.api", "Run the HTTP API alone, against CERTRAD_REDIS_URL"),
}
"""The commands that run in this process, by name."""

GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "Certify and check": ("certify", "jobs", "certificate", "cancel", "verify"),
    "Adapt to a site": (
        "tune",
        "prompts list",
        "prompts show",
        "prompts default",
        "prompts withdraw",
        "prompts restore",
        "prompts calibrate",
        "prompts bank",
        "prompts import",
        "prompts words",
        "adapt-encoder",
        "calibrate-sets",
        "adapters withdraw",
        "adapters restore",
    ),
    "Measure": ("evaluate", "plot", "attack", "audit", "assessments"),
    "Connect to a PACS": ("pacs run", "pacs check", "deliveries", "rules test"),
    "Run the service": (
        "demo",
        "up",
        "api",
        "worker",
        "worker-health",
        "selftest",
        "evidence",
        "evidence verify",
        "callbacks run",
        "callbacks",
        "fetch",
        "access",
        "keys",
        "audit-trail verify",
        "erase",
    ),
}
"""All commands, as the help lists them."""

_FAMILIES: Final = ("prompts", "pacs", "rules", "audit-trail")
_ABOUT: Final = (
    "Classes of medical images with a certified L2 radius, or an abstention. Research use; no medical device."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit code.

    Args:
        arguments: The command and its options; None for those of this process.
    """
    try:
        code = dispatch(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def dispatch(arguments: Sequence[str]) -> int:
    """Runs one command.

    Args:
        arguments: The command and its options.

    Returns:
        The exit code: 0, 3 abstained, 2 bad usage, 1 failure.
    """
    if (name := find(arguments, REQUESTS)) is not None:
        return run(name, REQUESTS[name], arguments[len(name.split()) :])
    if (name := find(arguments, COMPUTING)) is not None:
        become(name, arguments[len(name.split()) :])
    if "--version" in arguments[:1]:
        sys.stdout.write(f"certrad {version('certrad')}\n")
        return DONE
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(listing())
        return DONE if arguments else BAD_USAGE
    if arguments[0] in _FAMILIES and set(arguments[1:]) <= {"-h", "--help"}:
        sys.stdout.write(listing(f"{arguments[0]} "))
        return DONE if len(arguments) > 1 else BAD_USAGE
    return fail(f"{' '.join(arguments[:2])!r} is not a command; see `certrad --help`", BAD_USAGE)


def listing(prefix: str = "") -> str:
    """Returns one line for each command that says what it does.

    Args:
        prefix: Selects the commands whose names begin with it.
    """
    commands = {**REQUESTS, **COMPUTING}
    lines = ["usage: certrad COMMAND [OPTIONS]", "", _ABOUT]
    for group, names in GROUPS.items():
        if chosen := [name for name in names if name.startswith(prefix)]:
            lines += ["", f"{group}:", *(f"  {name:19}{commands[name].summary}" for name in chosen)]
    return "\n".join([*lines, "", "`certrad COMMAND --help` shows the options; `certrad --version` the version.", ""])


if __name__ == "__main__":
    main()
