"""`certrad cancel`: stops a job before its end."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("job", text("JOB"), "id of a job")
    add_url(parser)


def run(options: Namespace) -> int:
    """Cancels the job; a job that has ended stays as it is, because the service would erase it.

    Returns:
        The exit code.
    """

    def cancel(client: Client) -> int:
        job = client.job(options.job)
        if job.ended:
            return fail(f"job {job.id} has ended already: it {_ENDED[job.status]}", FAILURE)
        client.cancel(job.id)
        sys.stdout.write(f"job {job.id} is cancelled\n")
        return DONE

    return with_service(options, cancel)


_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}
