"""`certrad evidence verify`: checks the signature of evidence, and the digest of every file of it."""

from argparse import Namespace

from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.option_kinds import existing


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("folder", existing("folder", metavar="DIR"), "folder of `certrad evidence`")
    parser.option(
        "--key",
        existing("file"),
        "keys of the issuer, as `certrad verify` takes them",
        without="the key is not checked",
    )


def run(options: Namespace) -> int:
    """Checks the folder and prints what is wrong.

    Returns:
        The exit code: 0 if nothing was changed, 1 otherwise, 2 for bad usage.
    """
    from certrad.workers.offline.evidence import verify

    return verify.verify_evidence(options)
