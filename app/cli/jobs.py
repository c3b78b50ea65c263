"""`certrad jobs`: the newest jobs of a service."""

from argparse import Namespace
from itertools import islice

from certrad.app.cli import console
from certrad.app.cli.client import Client
from certrad.app.cli.service import add_json, add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE
from certrad.workers.contract.option_kinds import integer


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_url(parser)
    add_json(parser)
    parser.option("--limit", integer(1, 1_000_000), "number of jobs to show", default=20)


def run(options: Namespace) -> int:
    """Prints the jobs.

    Returns:
        The exit code.
    """

    def show(client: Client) -> int:
        jobs = list(islice(client.jobs(), options.limit))
        if options.json:
            console.write_json([job.raw for job in jobs])
        else:
            console.print_jobs(console.output(), jobs)
        return DONE

    return with_service(options, show)
