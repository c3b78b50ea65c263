"""`certrad fetch`: the weights of a backbone."""

import json
import sys
from argparse import Namespace
from dataclasses import asdict

from certrad.workers.cli.common import backbone, require_card
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("name", backbone(), "id of a backbone")
    add_data_dir(parser)
    parser.check(require_card("backbone", "name", "ID"))


def run(options: Namespace) -> int:
    """Gets the weights, by a download or from files that are there, and prints the card with the pinned digest.

    Returns:
        The exit code.
    """
    from certrad.models.errors import Rejected
    from certrad.models.installed import CardError, installed_cards
    from certrad.workers.offline.fetch import fetch
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import WorkerSettings

    settings = settings_of(WorkerSettings, options.data_dir)
    try:
        card = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir).backbones[options.name]
        fetched = fetch(card, settings.backbones_dir)
    except CardError as error:
        return fail(str(error), BAD_USAGE)
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    sys.stdout.write(json.dumps(asdict(fetched)) + "\n")
    return DONE
