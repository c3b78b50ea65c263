"""`certrad fetch`: the weights of a backbone."""

import json
import sys
from argparse import Namespace
from dataclasses import asdict

from certrad.workers.cli.common import backbone
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.commands import DONE, FAILURE, fail


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("name", backbone(), "id of a backbone")
    add_data_dir(parser)


def run(options: Namespace) -> int:
    """Downloads the weights and prints the card with the pinned digest.

    Returns:
        The exit code.
    """
    from certrad.models.errors import Rejected
    from certrad.models.shipped import shipped_backbones
    from certrad.workers.offline.fetch import fetch
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import WorkerSettings

    settings = settings_of(WorkerSettings, options.data_dir)
    try:
        fetched = fetch(shipped_backbones()[options.name], settings.backbones_dir)
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    sys.stdout.write(json.dumps(asdict(fetched)) + "\n")
    return DONE
