"""`certrad plot`: certified accuracy against radius, of one or more tables of `certrad evaluate`."""

from argparse import Namespace
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from certrad.workers.contract.arguments import Check, Parser
from certrad.workers.contract.option_kinds import Kind, existing

FORMATS: Final = (".pdf", ".png", ".svg")


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("tables", existing("file", metavar="TSV"), "tables that `certrad evaluate --out` wrote", many=True)
    parser.option("--out", plot_file(), "file to write the plot to", required=True)
    parser.check(require_matplotlib("out"))


def plot_file() -> Kind:
    """Returns the kind of paths of images to write."""

    def read(given: str) -> Path:
        path = Path(given)
        if path.suffix not in FORMATS:
            raise ValueError(f"must end in {', '.join(FORMATS)}")
        if not path.absolute().parent.is_dir():
            raise ValueError("must be in an existing folder")
        return path

    return Kind(read=read, metavar="FILE", values=f"ends in {', '.join(FORMATS)}")


def require_matplotlib(dest: str) -> Check:
    """Returns the rule that an option which draws needs matplotlib; the rule does not import it."""

    def rule(options: Namespace) -> Iterator[str]:
        if getattr(options, dest) is not None and find_spec("matplotlib") is None:
            yield f"`--{dest}` needs matplotlib: run `make setup`"

    return rule


def run(options: Namespace) -> int:
    """Draws the plot.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import plot

    return plot.plot_tables(options)
