"""`certrad prompts words`: the words nearest to the context vectors of a prompt."""

from argparse import Namespace

from certrad.workers.cli.common import add_json, require_prompt
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import integer, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("id", text("ID"), "id of a learned prompt")
    parser.option("--top", integer(1, 100), "number of words for each vector", default=5)
    add_data_dir(parser)
    add_json(parser)
    parser.check(require_prompt("id", "ID", template=False))


def run(options: Namespace) -> int:
    """Prints the words.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import nearest_words

    return nearest_words.show(options)
