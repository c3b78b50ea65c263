"""What values the options of commands take: each kind reads a text, or says what was expected."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from certrad.models.types import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The values that an option takes.

    read: returns the value a text stands for; raises ValueError with what it must be, such as "must be 1 to 5".
    metavar: what stands for the value in the help.
    values: which ones there are, for the help; empty where the metavar says it.
    """

    read: Callable[[str], object]
    metavar: str
    values: str = ""


FILE: Final = "FILE"
FOLDER: Final = "DIR"


def text(metavar: str) -> Kind:
    """Returns the kind of any text."""
    return Kind(read=str, metavar=metavar)


def integer(low: int, high: int | None = None) -> Kind:
    """Returns the kind of whole numbers from `low` to `high`."""
    values = f"at least {low}" if high is None else f"{low} to {high}"

    def read(given: str) -> int:
        try:
            value = int(given)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise ValueError(f"must be a whole number, {values}")
        return value

    return Kind(read=read, metavar="N", values=values)


def number(low: float, high: float, *, above: bool = False) -> Kind:
    """Returns the kind of numbers from `low` to `high`; `above`: `low` itself is left out."""
    values = f"above {low:g}, up to {high:g}" if above else f"{low:g} to {high:g}"

    def read(given: str) -> float:
        try:
            value = float(given)
        except ValueError:
            value = float("nan")
        if not low <= value <= high or (above and value == low):  # also refuses NaN
            raise ValueError(f"must be a number, {values}")
        return value

    return Kind(read=read, metavar="X", values=values)


def numbers(low: float, high: float) -> Kind:
    """Returns the kind of several numbers, separated by commas."""
    one = number(low, high)

    def read(given: str) -> tuple[object, ...]:
        try:
            return tuple(map(one.read, given.split(",")))
        except ValueError:
            raise ValueError(f"must be numbers of {one.values}, separated by commas") from None

    return Kind(read=read, metavar="X,...", values=f"each {one.values}")


def moment() -> Kind:
    """Returns the kind of times in ISO 8601 with a zone; the value is in seconds since 1970."""
    values = "a time with its zone, such as 2026-05-01T12:00Z"

    def read(given: str) -> float:
        try:
            value = datetime.fromisoformat(given)
        except ValueError:
            value = datetime.min
        if value.tzinfo is None:
            raise ValueError(f"must be {values}")
        return value.timestamp()

    return Kind(read=read, metavar="TIME", values=values)


def choice(*names: str, values: str = "") -> Kind:
    """Returns the kind of some words."""
    return known("{" + ",".join(names) + "}", lambda: names, values=values)


def known(metavar: str, names: Callable[[], Iterable[str]], *, values: str = "") -> Kind:
    """Returns the kind of names that are only read where one is given, such as those of cards."""

    def read(given: str) -> str:
        there = list(names())
        if given not in there:
            raise ValueError(f"must be one of {', '.join(there)}")
        return given

    return Kind(read=read, metavar=metavar, values=values)


def existing(*kinds: Literal["file", "folder"], metavar: str = FILE) -> Kind:
    """Returns the kind of paths of what is there."""
    what = f"an existing {' or '.join(kinds)}"

    def read(given: str) -> Path:
        path = Path(given)
        if not (("file" in kinds and path.is_file()) or ("folder" in kinds and path.is_dir())):
            raise ValueError(f"must be {what}")
        return path

    return Kind(read=read, metavar=metavar)


def path(metavar: str = FILE) -> Kind:
    """Returns the kind of paths that need not be there yet."""
    return Kind(read=Path, metavar=metavar)


def region() -> Kind:
    """Returns the kind of rectangles in an image."""

    def read(given: str) -> Region:
        try:
            x, y, w, h = map(int, given.split(","))
            return Region(x=x, y=y, w=w, h=h)
        except ValueError:
            raise ValueError(
                "must be x,y,w,h: four whole numbers of pixels, with a positive width and height"
            ) from None

    return Kind(read=read, metavar="X,Y,W,H")
