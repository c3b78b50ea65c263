"""What commands that compute have in common: exit codes, choices by name, the device, a progress bar."""

import sys
from collections.abc import Mapping
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

FAILURE: Final = 1
BAD_USAGE: Final = 2

_Value = TypeVar("_Value")


def named(option: str, name: str, known: Mapping[str, _Value]) -> _Value:
    """The value an option names; raises ValueError with the names there are."""
    if name not in known:
        raise ValueError(f"{option} is expected of {', '.join(known)}, got {name!r}")
    return known[name]


def progress_bar(unit: str = "images") -> Progress:
    """Bars on standard error that count images or another unit, gone when the work is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def fail(message: str, code: int) -> int:
    """Says why on standard error; returns `code`."""
    sys.stderr.write(f"certrad: {message}\n")
    return code
