"""`certrad prompts import`: imports a prompt checkpoint of foreign code."""

from argparse import Namespace
from typing import get_args

from certrad.models.types.cards import ContextPosition
from certrad.workers.cli.common import backbone, prompt_name, require_card, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import choice, existing


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("file", existing("file"), "checkpoint of CoOp, PromptSmooth or AdvPT; nothing in it is executed")
    parser.option("--backbone", backbone(), "backbone it was tuned for", required=True)
    parser.option("--task", task(), "task it was tuned for", required=True)
    parser.option("--name", prompt_name(), "name of the prompt", required=True)
    parser.option(
        "--position", choice(*get_args(ContextPosition)), "place of the class name in the prompt", default="end"
    )
    add_data_dir(parser)
    parser.check(require_card("backbone", "backbone", "--backbone"))
    parser.check(require_card("task", "task", "--task"))


def run(options: Namespace) -> int:
    """Stores the prompt, publishes it if the service runs, and prints its card.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import prompts

    return prompts.make(prompts.import_prompt, options)
