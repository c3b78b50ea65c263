"""A work horse that is forked before its job comes, so that the job does not wait for the fork."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


class ReadyHorse:
    """One forked process from its parent's side: it waits for the ids of one job, performs it and ends.

    It is used once, as every work horse is: it has seen no upload and no key before. It ends with its parent.
    """

    def __init__(self, perform: Callable[[str, str], None], *, prepare: Callable[[], None]) -> None:
        """Forks the process.

        Args:
            perform: Performs a job in the process, by the ids of the job and of its execution.
            prepare: Is called in the process before it waits.
        """
        orders, self._order = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._order)
            _be_horse(orders, perform, prepare)
        os.close(orders)

    def order(self, job_id: str, execution_id: str) -> bool:
        """Gives the process its job.

        Args:
            job_id: The id of the RQ job.
            execution_id: The id of its execution.

        Returns:
            Whether the process lives; if not, it is gone for good.
        """
        try:
            os.write(self._order, json.dumps([job_id, execution_id]).encode())
        except BrokenPipeError:
            self.close()
            return False
        os.close(self._order)
        return True

    def close(self) -> None:
        """Ends the process, which has no job and may wait for Redis."""
        os.close(self._order)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _be_horse(orders: int, perform: Callable[[str, str], None], prepare: Callable[[], None]) -> NoReturn:
    try:
        os.setpgrp()
        prepare()
        with os.fdopen(orders, "rb") as stream:
            line = stream.read()
        if line:
            perform(*json.loads(line))
        os._exit(os.EX_OK)
    finally:  # no error may reach the code of the parent, of which this process is a copy
        os._exit(os.EX_SOFTWARE)
