"""`certrad assessments`: how often readers agreed with certified and with abstained results."""

from argparse import Namespace

from certrad.workers.cli.common import add_json
from certrad.workers.contract.arguments import Parser, add_data_dir


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_data_dir(parser)
    add_json(parser)


def run(options: Namespace) -> int:
    """Prints the table.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import agreement

    return agreement.print_agreement(options)
