"""`certrad prompts default`: sets the prompt that a task uses if a request names none."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE
from certrad.workers.contract.option_kinds import text


def words_of_replaced(replaced: str, task: str) -> str:
    """Returns what to say of the prompt that another one took the place of, and how to go back."""
    return f"it replaces {replaced}; `certrad prompts default {replaced} --task {task}` goes back"


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
        replaced = client.make_default(options.id, options.task)
        sys.stdout.write(f"{options.id} is the default prompt of {options.task} now\n")
        if replaced is not None:
            sys.stdout.write(f"{words_of_replaced(replaced, options.task)}\n")
        return DONE

    return with_service(options, make)
