"""`certrad prompts words ID`: prints the words nearest to the context vectors of a learned prompt."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.errors import Rejected
from certrad.models.installed import CardError, installed_cards
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.prompts.nearest_words import Interpretation, interpret
from certrad.models.prompts.store import PromptStore
from certrad.models.types import PromptCard
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import WorkerSettings


def show(options: argparse.Namespace) -> int:
    """Prints the words.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    settings = settings_of(WorkerSettings, options.data_dir)
    try:
        store = PromptStore(own=settings.prompts_dir)
        card = store.card(options.id)
        backbone = _backbone(card, settings)
        prompt = store.load(card)
        members = prompt.members if isinstance(prompt, Bank) else (prompt,)
        prompts = [interpret(backbone, member, top=options.top) for member in members]
    except CardError as error:
        return fail(str(error), BAD_USAGE)
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    if options.json:
        document = [[asdict(vector) for vector in vectors] for vectors in prompts]
        sys.stdout.write(json.dumps({"prompt": card.id, "backbone": card.backbone, "prompts": document}) + "\n")
        return DONE
    sys.stdout.write("\n".join(_lines(card, prompts)) + "\n")
    return DONE


def _backbone(card: PromptCard, settings: WorkerSettings) -> Backbone:
    known = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir).backbones
    if card.backbone not in known:
        raise Rejected("unknown_backbone", f"prompt {card.id!r} is for {card.backbone!r}, of which there is no card")
    backbone_card = known[card.backbone]
    backbone = load_backbone(backbone_card, weights_directory(backbone_card, settings.backbones_dir))
    require_backbone(card, backbone)
    return backbone


def _lines(card: PromptCard, prompts: Sequence[Sequence[Interpretation]]) -> Iterator[str]:
    yield f"{card.id}: tokens of {card.backbone} nearest to each context vector, by Euclidean distance"
    for number, vectors in enumerate(prompts, 1):
        if len(prompts) > 1:
            yield f"prompt {number} of the bank"
        for vector in vectors:
            of_class = "" if vector.class_index is None else f"{card.class_names[vector.class_index]}, "
            words = "  ".join(f"{near.word} {near.distance:.4f}" for near in vector.words)
            yield f"{of_class}vector {vector.place + 1}, norm {vector.norm:.4f}: {words}"
            chance = vector.same_norm
            share = f"{100 * chance.share_nearer:.0f}% of them as near"
            yield f"  random vectors of this norm: {chance.mean:.4f} +- {chance.std:.4f}, {share}"
