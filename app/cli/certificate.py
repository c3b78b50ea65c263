"""`certrad certificate`: the signed document of a job, an envelope around it or its time stamp, byte for byte."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Final

from certrad.app.cli.client import Client
from certrad.app.cli.service import add_url, with_service
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.certificate_files import CERTIFICATE_FILES
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import choice, path, text

_FORMS: Final = {kind.replace("_", "-"): each.media_type for kind, each in CERTIFICATE_FILES.items()}


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("job", text("JOB"), "id of a job")
    parser.option("--form", choice(*_FORMS), "form of the certificate", default="document")
    parser.option("--out", path(), "file to write the document to", without="standard output")
    add_url(parser)
    parser.check(_needs_file)


def _needs_file(options: Namespace) -> Iterator[str]:
    if options.form == "time-stamp" and options.out is None:
        yield "`--out` must be given with `--form time-stamp`, which is no text"


def run(options: Namespace) -> int:
    """Prints the certificate, or writes it to a file.

    Returns:
        The exit code.
    """

    def write(client: Client) -> int:
        document = client.certificate(options.job, _FORMS[options.form])
        if options.out is None:
            sys.stdout.write(document.decode())
            return DONE
        try:
            options.out.write_bytes(document)
        except OSError as error:
            return fail(f"{options.out} cannot be written: {error.strerror}", FAILURE)
        return DONE

    return with_service(options, write)
