"""The service that a command speaks to: a running one, or a private one for this command."""

import os
import shutil
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from certrad.app.cli import console
from certrad.app.cli.client import Client, ProblemError
from certrad.app.cli.private_service import LocalStackError, private_stack
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import BAD_USAGE, FAILURE, fail
from certrad.workers.contract.option_kinds import path, text

_DEFAULT_URL: Final = "http://127.0.0.1:8000"


def add_url(parser: Parser) -> None:
    """Declares `--url`."""
    parser.option("--url", text("URL"), "address of the service", without=f"CERTRAD_URL, else {_DEFAULT_URL}")


def add_json(parser: Parser) -> None:
    """Declares `--json`."""
    parser.flag("--json", "print machine-readable output")


def add_local(parser: Parser, meaning: str) -> None:
    """Declares `--local`, and `--data-dir` that goes with it."""
    parser.flag("--local", meaning)
    parser.option("--data-dir", path("DIR"), "folder of everything the private service keeps; it stays", without="new")

    def rule(options: Namespace) -> Iterator[str]:
        if options.data_dir is not None and not options.local:
            yield "`--data-dir` goes with `--local` only: a running service has its own"
        if options.local and options.url is not None:
            yield "`--url` and `--local` exclude each other"

    parser.check(rule)


def with_service(options: Namespace, work: Callable[[Client], int]) -> int:
    """Runs some work with the service that the options name.

    Returns:
        The exit code of the work, or 1 for a refusal.
    """
    try:
        key = _key()
    except OSError as error:
        return fail(f"CERTRAD_API_KEY_FILE: {error.strerror}", BAD_USAGE)
    try:
        with Client(options.url or os.environ.get("CERTRAD_URL") or _DEFAULT_URL, key=key) as client:
            return work(client)
    except ProblemError as problem:
        return fail(str(problem), FAILURE)


def _key() -> str | None:
    """Returns the API key of CERTRAD_API_KEY, or of the file that CERTRAD_API_KEY_FILE names; None without one.

    Raises:
        OSError: The file cannot be read.
    """
    if key := os.environ.get("CERTRAD_API_KEY"):
        return key
    file = os.environ.get("CERTRAD_API_KEY_FILE")
    return Path(file).read_text().strip() if file else None


def with_private_service(work: Callable[[Client], int], *, data_dir: Path | None, keep: bool) -> int:
    """Runs some work with a private service, and stops the service.

    Args:
        work: The work.
        data_dir: The data directory of the service; None for a new one.
        keep: Whether a new data directory stays.

    Returns:
        The exit code of the work, or 1 if the service did not start.
    """
    try:
        with _stack(data_dir, keep=keep) as client:
            return work(client)
    except (LocalStackError, ProblemError) as error:
        return fail(str(error), FAILURE)


@contextmanager
def _stack(data_dir: Path | None, *, keep: bool) -> Iterator[Client]:
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))  # else it would leave the service running
    directory = data_dir or Path(tempfile.mkdtemp(prefix="certrad-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as running:
            with console.errors().status("starting a private service"):
                url = running.enter_context(private_stack(directory))
            yield running.enter_context(Client(url))
    finally:
        if keep or data_dir is not None:
            console.errors().print(f"data directory: {directory}", soft_wrap=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
