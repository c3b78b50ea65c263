"""`certrad prompts list`: the prompts a service has in use."""

from argparse import Namespace

from certrad.app.cli import console
from certrad.app.cli.client import Client
from certrad.app.cli.service import add_json, add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_url(parser)
    add_json(parser)


def run(options: Namespace) -> int:
    """Prints the prompts.

    Returns:
        The exit code.
    """

    def show(client: Client) -> int:
        prompts = client.get("/prompts")["prompts"]
        if options.json:
            console.write_json(prompts)
        else:
            console.print_prompts(console.output(), prompts)
        return DONE

    return with_service(options, show)
