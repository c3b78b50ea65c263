"""Makes prompts on this machine: stores them, publishes them if the service runs, and prints their cards."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict

from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.errors import Rejected
from certrad.models.installed import installed_cards
from certrad.models.types import PromptCard
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.engine.prompt_store import import_checkpoint, publish
from certrad.workers.offline.service_redis import running_redis
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import StackSettings


def make(maker: Callable[[Namespace, StackSettings], PromptCard], options: Namespace) -> int:
    """Makes a prompt, publishes it if the service runs, and prints its card.

    Args:
        maker: Stores the prompt and returns its card.
        options: Those of the command.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    settings = settings_of(StackSettings, options.data_dir)
    try:
        card = maker(options, settings)
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    except (ValueError, OSError) as error:
        return fail(str(error), BAD_USAGE)
    with running_redis(settings, otherwise="the prompt is known once an engine starts") as redis:
        publish(redis, settings.prompts_dir, card)
        Catalogue(redis).reinstate_prompt(card.id)
    sys.stdout.write(json.dumps(asdict(card)) + "\n")
    return DONE


def import_prompt(options: Namespace, settings: StackSettings) -> PromptCard:
    """Stores a foreign prompt checkpoint.

    Returns:
        Its card.

    Raises:
        ValueError: A card of the operator cannot be used.
        Rejected: The backbone has no weights here, or the file is no checkpoint for it.
    """
    cards = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
    card = cards.backbones[options.backbone]
    return import_checkpoint(
        options.file,
        name=options.name,
        backbone=load_backbone(card, weights_directory(card, settings.backbones_dir)),
        task=cards.tasks[options.task],
        directory=settings.prompts_dir,
        position=options.position,
    )
