"""`certrad evidence`: the records of an installation about one task, signed, with an index by regulation."""

from argparse import Namespace

from certrad.workers.cli.common import require_card, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import existing, path


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.option("--task", task(), "task", required=True)
    parser.option("--out", path("DIR"), "folder to write, which must not exist", required=True)
    parser.option("--evaluation", existing("file"), "table of `certrad evaluate --out` for the task")
    parser.option("--audit", existing("file"), "output of `certrad audit --json` for the task")
    parser.option("--attack", existing("file"), "output of `certrad attack --json` for the task")
    parser.option("--selftest", existing("file"), "signed report of `certrad selftest --out`", without="made here")
    parser.flag(
        "--unsigned-selftest",
        "take a report too that no key of this installation signed, as a host without `signing/` writes it",
    )
    parser.option("--sbom", existing("file"), "software bill of materials, CycloneDX in JSON", without="made here")
    add_data_dir(parser)
    parser.check(require_card("task", "task", "--task"))


def run(options: Namespace) -> int:
    """Writes the folder.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    from certrad.workers.offline.evidence import gather

    return gather.write_evidence(options)
