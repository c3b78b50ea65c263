"""`certrad certificate`: the signed document of a job, byte for byte."""

import sys
from argparse import Namespace

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.commands import DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import path, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("job", text("JOB"), "id of a job")
    parser.option("--out", path(), "file to write the document to", without="standard output")
    add_url(parser)


def run(options: Namespace) -> int:
    """Prints the document, or writes it to a file.

    Returns:
        The exit code.
    """

    def write(client: Client) -> int:
        document = client.certificate(options.job)
        if options.out is None:
            sys.stdout.write(document.decode())
            return DONE
        try:
            options.out.write_bytes(document)
        except OSError as error:
            return fail(f"{options.out} cannot be written: {error.strerror}", FAILURE)
        return DONE

    return with_service(options, write)
