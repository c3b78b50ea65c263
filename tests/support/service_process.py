"""`certrad up` as a person starts it: in a folder, with the default data directory below it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ROOT, wait_for

_READY = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def running_service(folder: Path) -> Iterator[str]:
    """Yields the address of a service that runs in a folder; it is stopped in the end."""
    output = folder / "up.out"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "certrad.app.cli.main", "up", "--port", "0"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=out,
        )
    try:

        def address() -> re.Match[str] | None:
            assert process.poll() is None
            return _READY.search(output.read_text())

        found = wait_for(address, timeout=240.0, what="the line that says the service is ready")
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=60)
