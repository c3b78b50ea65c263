"""A private stack: the whole service as a child process, for as long as one command needs it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_NOT_SHARED: Final = frozenset(
    {"CERTRAD_REDIS_URL", "CERTRAD_DATA_DIR", "CERTRAD_ACCESS", "CERTRAD_TRUSTED_PROXIES", "CERTRAD_API_KEY"}
)  # it keeps to itself
_READY: Final = "certrad ready on "
_READY_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.05


class LocalStackError(Exception):
    """The private stack did not start; the message says why."""


@contextmanager
def private_stack(data_dir: Path) -> Iterator[str]:
    """Runs the service on a free loopback port with all its data in one directory, yields its URL, and stops it.

    Raises:
        LocalStackError: The service did not start.
    """
    output = data_dir / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "certrad.workers.cli.main", "up", "--port", "0", "--data-dir", str(data_dir)],
            env={name: value for name, value in os.environ.items() if name not in _NOT_SHARED},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl+C reaches this command only, which then stops the stack
        )
    try:
        yield _await_ready(process, output)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        ended = process.poll() is not None
        text = output.read_text("utf-8", "replace")
        for line in text.splitlines(keepends=True):
            if line.startswith(_READY) and line.endswith("\n"):
                return line.removeprefix(_READY).strip()
        if ended:
            raise LocalStackError(f"the local stack ended with exit code {process.returncode}: {text.strip()}")
        if time.monotonic() > deadline:
            raise LocalStackError(f"the local stack was not ready within {_READY_SECONDS:.0f} s: {text.strip()}")
        time.sleep(_PAUSE_SECONDS)
