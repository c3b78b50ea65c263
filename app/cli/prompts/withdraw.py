"""`certrad prompts withdraw`: takes a prompt out of use."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE
from certrad.workers.contract.option_kinds import text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("id", text("ID"), "id of a prompt")
    add_url(parser)


def run(options: Namespace) -> int:
    """Withdraws the prompt, and prints how to restore it.

    Returns:
        The exit code.
    """

    def withdraw(client: Client) -> int:
        client.withdraw_prompt(options.id)
        sys.stdout.write(f"{options.id} is withdrawn; `certrad prompts restore {options.id}` puts it into use again\n")
        return DONE

    return with_service(options, withdraw)
