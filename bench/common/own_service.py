"""A service of a measurement's own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_READY: Final = re.compile(r"http://127\.0\.0\.1:\d+")
_START_SECONDS: Final = 240.0


@contextmanager
def own_service(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yields the address of a service of its own, with its data in `FOLDER/data`; RuntimeError if it fails.

    Args:
        folder: The folder.
        settings: Variable -> value of the settings that are not to have their defaults.
    """
    output = folder / "up.out"
    with output.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "certrad.app.cli.main", "up", "--port", "0", "--data-dir", str(folder / "data")],
            cwd=Path(__file__).resolve().parents[2],
            stdout=out,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("CERTRAD_")},
                **(settings or {}),
            },
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (found := _READY.search(output.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service must start within {_START_SECONDS:.0f} s, and did not")
            time.sleep(0.1)
        yield found[0]
    finally:
        process.terminate()
        process.wait()
