"""Draws what a command of the command line prints, as an SVG for the documentation.

    python -m certrad.bench picture --out docs/images/demo.svg --lines 19 -- demo --n 500

Runs `certrad` with the arguments after `--`, and draws its standard output as it is, below the command itself.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

_FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # fonts from another host, which a page does not load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--out", type=Path, required=True, help="SVG file to write")
    parser.add_argument("--width", type=int, default=152, help="columns of the picture")
    parser.add_argument("--lines", type=int, help="lines of the output to draw; default: all")
    parser.add_argument("command", nargs="+", help="arguments of certrad")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command and writes the picture."""
    command = [sys.executable, "-m", "certrad.app.cli.main", *arguments.command]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    shown = output.strip("\n").splitlines()[: arguments.lines]
    text = "\n".join((f"$ certrad {' '.join(arguments.command)}", *shown))
    arguments.out.write_text(drawn(text, width=arguments.width, title="certrad"), "utf-8")


def drawn(text: str, *, width: int, title: str) -> str:
    """Returns an SVG of a terminal that shows the text."""
    console = Console(record=True, width=width, file=StringIO(), highlight=False)
    console.print(Text.from_ansi(text))
    return _FONT_FACES.sub("", console.export_svg(title=title, unique_id="certrad"))
