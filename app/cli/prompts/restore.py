"""`certrad prompts restore`: puts a withdrawn prompt into use again."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.commands import DONE
from certrad.workers.contract.option_kinds import text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("id", text("ID"), "id of a withdrawn prompt")
    add_url(parser)


def run(options: Namespace) -> int:
    """Restores the prompt; it is no task's default until `certrad prompts default` makes it one.

    Returns:
        The exit code.
    """

    def restore(client: Client) -> int:
        client.restore_prompt(options.id)
        sys.stdout.write(f"{options.id} is in use again; it is the default of no task unless it was shipped as one\n")
        return DONE

    return with_service(options, restore)
