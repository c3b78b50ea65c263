"""`certrad adapters withdraw`: takes an adapter out of use."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE
from certrad.workers.contract.option_kinds import text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("id", text("ID"), "id of an adapter")
    add_url(parser)


def run(options: Namespace) -> int:
    """Withdraws the adapter, and prints how to restore it.

    Returns:
        The exit code.
    """

    def withdraw(client: Client) -> int:
        client.change_adapter(options.id, withdrawn=True)
        sys.stdout.write(f"{options.id} is withdrawn; `certrad adapters restore {options.id}` puts it into use again\n")
        return DONE

    return with_service(options, withdraw)
