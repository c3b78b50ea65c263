"""`certrad selftest`: the acceptance test of a device, and the commissioning test of a site."""

from argparse import Namespace

from certrad.models.types.selftest import SAMPLES
from certrad.models.types.smoothing import N_MAX
from certrad.workers.cli.common import add_json
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import integer, path


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.option(
        "--samples", integer(1, N_MAX), "samples of the label counts, rounded up to whole batches", default=SAMPLES
    )
    parser.option("--out", path("FILE"), "file to write the report to, as JSON; signed where this machine has the key")
    add_data_dir(parser)
    add_json(parser)


def run(options: Namespace) -> int:
    """Tests this machine and prints the report.

    Returns:
        The exit code: 0 if every check that was made passed, 1 otherwise.
    """
    from certrad.workers.offline import selftest

    return selftest.test_this_machine(options)
