"""Runs the command line in this process against the real API; the test plays the workers."""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from redis import Redis

from certrad.app.cli.main import main
from certrad.app.settings import ApiSettings
from certrad.workers.contract.records import Records

Work = Callable[[Records, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Holds the exit code and the output of a command."""

    exit_code: int
    stdout: str
    stderr: str


def certrad(*arguments: str) -> Result:
    """Runs a command of this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Result(exit_code=code, stdout=out.getvalue(), stderr=err.getvalue())


@contextmanager
def playing_workers(
    redis: Redis, settings: ApiSettings, *works: Work, before: Work = lambda _records, _job_id: None
) -> Iterator[None]:
    """Ends jobs as they come, the first by the first function, and so on; the last function ends all the others.

    before: told of every job before it is ended, to enter phases.
    """
    records = Records(redis, ttl=settings.job_ttl)
    stop = threading.Event()

    def run() -> None:
        done = 0
        while not stop.is_set():
            for job_id in records.active():
                before(records, job_id)
                works[min(done, len(works) - 1)](records, job_id)
                done += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
