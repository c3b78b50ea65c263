"""`certrad prompts default`: sets the prompt that a task uses if a request names none."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.commands import DONE
from certrad.workers.contract.option_kinds import text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("id", text("ID"), "id of a prompt")
    parser.option(
        "--task", text("ID"), "task whose default it becomes; it must have the prompt's classes", required=True
    )
    add_url(parser)


def run(options: Namespace) -> int:
    """Makes the prompt the default.

    Returns:
        The exit code.
    """

    def make(client: Client) -> int:
        client.make_default(options.id, options.task)
        sys.stdout.write(f"{options.id} is the default prompt of {options.task} now\n")
        return DONE

    return with_service(options, make)
