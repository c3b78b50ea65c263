"""`certrad adapters restore`: puts a withdrawn adapter into use again."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE
from certrad.workers.contract.option_kinds import text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("id", text("ID"), "id of a withdrawn adapter")
    add_url(parser)


def run(options: Namespace) -> int:
    """Restores the adapter, also as the default of the tasks whose cards name it.

    Returns:
        The exit code.
    """

    def restore(client: Client) -> int:
        tasks = client.change_adapter(options.id, withdrawn=False)
        sys.stdout.write(f"{options.id} is in use again, as the default of {', '.join(tasks) or 'no task'}\n")
        return DONE

    return with_service(options, restore)
