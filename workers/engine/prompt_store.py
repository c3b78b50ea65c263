"""The prompt store: checkpoints on this node, published in Redis, from where other nodes fetch them."""

import hashlib
from pathlib import Path
from typing import Any

import structlog
from redis import Redis

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.prompts.checkpoint import prompt_id, prompt_path, read_prompt_card, save_prompt
from certrad.models.prompts.context import ContextVectors, layout
from certrad.models.prompts.foreign_checkpoint import import_context
from certrad.models.prompts.store import PromptStore
from certrad.models.types import PromptCard, TaskCard
from certrad.models.types.cards import ContextPosition
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.names import prompt_bytes_key

_log = structlog.get_logger()


def publish(redis: Redis, directory: Path, card: PromptCard) -> None:
    """Makes a stored prompt known to every process, bytes first, so that a card never lacks them.

    Args:
        redis: The job store.
        directory: The prompt store of this node.
        card: The card of the prompt.

    Raises:
        Rejected: prompt_not_found, digest_mismatch.
        ValueError: A field of the card has a wrong type.
    """
    try:
        content = prompt_path(directory, card.id).read_bytes()
    except OSError as error:
        raise Rejected("prompt_not_found", f"prompt {card.id!r} has a card, but no bytes beside it") from error
    redis.set(prompt_bytes_key(card.sha256), verify_bytes(content, card))
    Catalogue(redis).publish_prompt(card, _tenants(directory, card.id))


def save_own(directory: Path, tenant: str, context: ContextVectors, *, name: str, **facts: Any) -> PromptCard:  # noqa: ANN401  # `save_prompt` has the types
    """Stores a prompt that is a tenant's own, unless it is there already and everyone's; returns its card.

    Whose it is stands on the disk before the prompt does: no power cut makes it everyone's.

    Args:
        directory: The prompt store of this node.
        tenant: The tenant.
        context: The context vectors.
        name: First part of the id.
        facts: The other arguments of `save_prompt`.

    Raises:
        OSError: The disk refuses.
    """
    identity = prompt_id(name, context, facts["backbone"].adapter)
    owners = _tenants(directory, identity)
    if owners or not prompt_path(directory, identity).with_suffix(".json").exists():
        replace_file(_tenants_path(directory, identity), " ".join(sorted({*owners, tenant})).encode())
    return save_prompt(directory, context, name=name, **facts)


def _tenants(directory: Path, identity: str) -> frozenset[str]:
    """Returns the tenants whose own a stored prompt is; none for one that is everyone's."""
    try:
        return frozenset(_tenants_path(directory, identity).read_text().split())
    except FileNotFoundError:
        return frozenset()


def _tenants_path(directory: Path, identity: str) -> Path:
    return prompt_path(directory, identity).with_suffix(".tenants")


def publish_all(redis: Redis, directory: Path) -> None:
    """Publishes every sound prompt of this node's store; a withdrawn one stays withdrawn, a damaged one is logged."""
    for path in sorted(directory.glob("*.json")):
        try:
            publish(redis, directory, read_prompt_card(path))
        except (Rejected, ValueError) as error:
            reason = error.code if isinstance(error, Rejected) else "invalid_checkpoint"
            _log.warning("prompt not published", prompt=path.stem, reason=reason)


def fetch(redis: Redis, store: PromptStore, card: PromptCard) -> None:
    """Copies the bytes of a published prompt from Redis into the store of this node, if they are missing there.

    Args:
        redis: The job store.
        store: The prompt store of this node.
        card: The card of the prompt.

    Raises:
        Rejected: invalid_checkpoint, if Redis has no bytes either; prompt_not_found, digest_mismatch.
    """
    if store.folder(card.id) is not None:
        return
    payload = redis.get(prompt_bytes_key(card.sha256))
    if not isinstance(payload, bytes):
        raise Rejected(
            "invalid_checkpoint", "the prompt's card is published, but its bytes are neither here nor in Redis"
        )
    content = verify_bytes(payload, card)  # before it is kept: a bad copy would fail every later job
    replace_file(prompt_path(store.own, card.id), content)


def verify_bytes(content: bytes, card: PromptCard) -> bytes:
    """Returns the bytes of a prompt checkpoint after comparing them with its card.

    Raises:
        Rejected: digest_mismatch, if they differ from the card.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card.sha256:
        raise Rejected(
            "digest_mismatch", f"prompt {card.id!r} must have SHA-256 {card.sha256}, as its card says; got {sha256}"
        )
    return content


def import_checkpoint(
    file: Path,
    *,
    name: str,
    backbone: Backbone,
    task: TaskCard,
    directory: Path,
    position: ContextPosition,
) -> PromptCard:
    """Stores a checkpoint of CoOp, PromptSmooth or AdvPT as a prompt; nothing in the file is executed.

    Args:
        file: The checkpoint.
        name: The name of the prompt.
        backbone: The backbone it was tuned for.
        task: The task it was tuned for.
        directory: The prompt store.
        position: The place of the class name during its tuning, which the file does not say.

    Returns:
        The card of the prompt.

    Raises:
        Rejected: invalid_checkpoint, prompt_mismatch, prompt_too_long.
        ValueError: The name is not valid.
    """
    context = import_context(file, backbone, len(task.class_names), position=position)
    layout(backbone, task.class_names, context)  # too many tokens show now, not in the first job
    return save_prompt(
        directory,
        context,
        name=name,
        method="imported",
        backbone=backbone,
        class_names=task.class_names,
        task=task.id,
    )
