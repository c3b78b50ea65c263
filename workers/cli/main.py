"""The commands that run on this machine: `python -m certrad.workers.cli.main COMMAND`."""

import os
import sys
from collections.abc import Sequence

from certrad.workers.contract.commands import COMPUTING, find, run
from certrad.workers.contract.exit_codes import BAD_USAGE, fail
from certrad.workers.environment import SPINNING


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; only its own module is imported.

    Args:
        arguments: The command and its options; None for those of this process.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = find(given, COMPUTING)
    if name is None:
        return fail(f"the command must be one of {', '.join(COMPUTING)}; got {' '.join(given[:2])!r}", BAD_USAGE)
    os.environ |= {**SPINNING, **os.environ}  # read when torch is loaded
    return run(name, COMPUTING[name], given[len(name.split()) :])


if __name__ == "__main__":
    sys.exit(main())
