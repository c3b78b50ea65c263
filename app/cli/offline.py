"""Becomes the process of a command that runs on this machine without a service, or is one."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def become(name: str, arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the command, which checks the arguments.

    Args:
        name: One of `COMPUTING` of certrad.workers.contract.commands, the table of these commands.
        arguments: What comes after its name.
    """
    command = [sys.executable, "-m", "certrad.workers.cli.main", *name.split(), *arguments]
    os.execv(sys.executable, command)  # noqa: S606  # our own module
