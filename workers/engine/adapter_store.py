"""The adapter store: adapters on this node, published in Redis, from where other nodes fetch them."""

import hashlib
from pathlib import Path
from typing import Final

import structlog
from redis import Redis

from certrad.models.adapters.checkpoint import adapter_path, read_adapter_card, write_adapter_card
from certrad.models.adapters.store import AdapterStore
from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.types import AdapterCard
from certrad.workers.contract.adapter_cards import AdapterCards
from certrad.workers.contract.names import adapter_bytes_key

BYTES_MAX: Final = 32 << 20
"""Size of the largest adapter whose bytes Redis keeps; a larger one must lie on every engine's node."""
_log = structlog.get_logger()


def publish(redis: Redis, directory: Path, card: AdapterCard) -> None:
    """Makes a stored adapter known to every process, bytes first, so that a card never lacks them.

    Args:
        redis: The job store.
        directory: The adapter store of this node.
        card: The card of the adapter.

    Raises:
        Rejected: adapter_not_found, digest_mismatch; adapter_mismatch, an adapter of this id is known with other facts.
        ValueError: A field of the card has a wrong type.
    """
    try:
        content = verify_bytes(adapter_path(directory, card.id).read_bytes(), card)
    except OSError as error:
        raise Rejected("adapter_not_found", f"adapter {card.id!r} has a card, but no bytes beside it") from error
    if len(content) <= BYTES_MAX:
        redis.set(adapter_bytes_key(card.sha256), content)
    AdapterCards(redis).publish(card)


def publish_all(redis: Redis, directory: Path) -> None:
    """Publishes every sound adapter of this node's store; a damaged one is logged."""
    for path in sorted(directory.glob("*.json")):
        try:
            card = read_adapter_card(path)
            if path.stem != card.id:
                raise Rejected("invalid_adapter", f"{path.name} is the card of {card.id!r}")
            publish(redis, directory, card)
        except (Rejected, ValueError) as error:
            reason = error.code if isinstance(error, Rejected) else "invalid_adapter"
            _log.warning("adapter not published", adapter=path.stem, reason=reason)


def fetch(redis: Redis, store: AdapterStore, card: AdapterCard) -> None:
    """Copies a published adapter from Redis into the store of this node, if it is missing there.

    Its card is kept too, also beside bytes that lost it, so that certificates can be replayed on this node.

    Args:
        redis: The job store.
        store: The adapter store of this node.
        card: The card of the adapter.

    Raises:
        Rejected: adapter_not_found, if Redis has no bytes either; digest_mismatch.
    """
    folder = store.folder(card.id)
    if folder is not None:
        if not adapter_path(folder, card.id).with_suffix(".json").exists():  # the process died between the two files
            write_adapter_card(folder, card)
        return
    payload = redis.get(adapter_bytes_key(card.sha256))
    if not isinstance(payload, bytes):
        raise Rejected(
            "adapter_not_found",
            f"adapter {card.id!r} is published, but its bytes are neither here nor in Redis: copy its two files into "
            "the folder `adapters` of this engine's data directory",
        )
    content = verify_bytes(payload, card)  # before it is kept: a bad copy would fail every later job
    replace_file(adapter_path(store.own, card.id), content)
    write_adapter_card(store.own, card)


def verify_bytes(content: bytes, card: AdapterCard) -> bytes:
    """Returns the bytes of an adapter after comparing them with its card.

    Raises:
        Rejected: digest_mismatch, if they differ from the card.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card.sha256:
        raise Rejected(
            "digest_mismatch", f"adapter {card.id!r} must have SHA-256 {card.sha256}, as its card says; got {sha256}"
        )
    return content
