"""`certrad prompts show`: the card of one prompt."""

import json
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
    """Prints the card as indented JSON.

    Returns:
        The exit code.
    """

    def show(client: Client) -> int:
        sys.stdout.write(json.dumps(client.prompt(options.id), indent=2) + "\n")
        return DONE

    return with_service(options, show)
