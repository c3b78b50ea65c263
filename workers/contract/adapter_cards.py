"""The cards of adapters: the shipped ones, and those published in Redis; each is read when it is asked for."""

from collections.abc import Iterator, Mapping
from typing import Final, cast

from redis import Redis
from redis.client import Pipeline

from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_adapters
from certrad.models.types import AdapterCard
from certrad.models.types.codec import decode_card, encode_card
from certrad.workers.contract.names import ADAPTERS, WITHDRAWN_ADAPTERS

_FIXED: Final = ("sha256", "backbone", "backbone_sha256", "rank")
"""What two cards of one adapter have in common."""


class AdapterCards(Mapping[str, AdapterCard]):
    """Every adapter that is not withdrawn, by id.

    A card records the images of the shipped card and of every card of this adapter that was published.
    """

    def __init__(self, redis: Redis) -> None:
        """Sets the job store.

        Args:
            redis: The job store.
        """
        self._redis = redis
        self._shipped = shipped_adapters()

    def __getitem__(self, adapter_id: str) -> AdapterCard:
        """Returns the card of an adapter in use."""
        card = None if self.is_withdrawn(adapter_id) else self.with_withdrawn(adapter_id)
        if card is None:
            raise KeyError(adapter_id)
        return card

    def __iter__(self) -> Iterator[str]:
        """Yields the ids in use, sorted."""
        return iter(self.read_all())

    def __len__(self) -> int:
        """Returns the number of adapters in use."""
        return len(self.read_all())

    def read_all(self) -> dict[str, AdapterCard]:
        """Returns every adapter in use by id; a card that cannot be read hides no other one."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(ADAPTERS))
        published = {key.decode(): value for key, value in stored.items()}
        withdrawn = {each.decode() for each in cast("set[bytes]", self._redis.smembers(WITHDRAWN_ADAPTERS))}
        cards = {name: self._card(name, published.get(name)) for name in sorted({*published, *self._shipped})}
        return {name: card for name, card in cards.items() if card is not None and name not in withdrawn}

    def with_withdrawn(self, adapter_id: str) -> AdapterCard | None:
        """Returns the card of an adapter, withdrawn or not: jobs accepted before its withdrawal still use it.

        Args:
            adapter_id: The id.
        """
        return self._card(adapter_id, cast("bytes | None", self._redis.hget(ADAPTERS, adapter_id)))

    def is_withdrawn(self, adapter_id: str | None) -> bool:
        """Returns whether an adapter was taken out of use; None, the frozen encoder, never is."""
        return adapter_id is not None and bool(self._redis.sismember(WITHDRAWN_ADAPTERS, adapter_id))

    def withdraw(self, adapter_id: str) -> None:
        """Takes an adapter out of use; bytes and certificates stay."""
        self._redis.sadd(WITHDRAWN_ADAPTERS, adapter_id)

    def reinstate(self, adapter_id: str) -> None:
        """Puts a withdrawn adapter into use again."""
        self._redis.srem(WITHDRAWN_ADAPTERS, adapter_id)

    def publish(self, card: AdapterCard) -> None:
        """Makes an adapter known to every process; a withdrawn one stays withdrawn.

        The images that the shipped card or an earlier one recorded stay recorded.

        Args:
            card: The card of the adapter.

        Raises:
            Rejected: adapter_mismatch, an adapter of this id is known with another file, backbone or rank.
            ValueError: A field of the card has a wrong type, so that no process could read it.
        """
        decode_card(AdapterCard, encode_card(card))

        def replace_card(change: Pipeline) -> None:
            known = self._card(card.id, cast("bytes | None", change.hget(ADAPTERS, card.id)))
            others = [] if known is None else [name for name in _FIXED if getattr(known, name) != getattr(card, name)]
            if others:
                raise Rejected("adapter_mismatch", f"adapter {card.id!r} is known with another {', '.join(others)}")
            change.multi()
            change.hset(ADAPTERS, card.id, encode_card(card.with_images_of(known)))

        self._redis.transaction(replace_card, ADAPTERS)

    def _card(self, adapter_id: str, stored: bytes | None) -> AdapterCard | None:
        """Returns a card with the images of the shipped one; None where there is none that can be read."""
        shipped = self._shipped.get(adapter_id)
        if stored is None:
            return shipped
        try:
            card = decode_card(AdapterCard, stored, allow_unknown=True)
        except ValueError:
            return shipped
        return card.with_images_of(shipped) if card.id == adapter_id else shipped
