"""The cards of backbones, tasks, prompts and adapters: those shipped with the package and those workers publish."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from redis import Redis
from redis.client import Pipeline

from certrad.models.installed import Cards
from certrad.models.shipped import shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import BackboneCard, PromptCard, TaskCard
from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.defaults import default_prompts
from certrad.workers.contract.adapter_cards import AdapterCards
from certrad.workers.contract.calibrations import Calibrations
from certrad.workers.contract.names import (
    DEFAULTS,
    ENGINE_MEMORY,
    OWN_BACKBONES,
    OWN_TASKS,
    PROMPT_TENANTS,
    PROMPTS,
    WITHDRAWN,
    WORKERS,
    withdrawn_of,
)

_Card = TypeVar("_Card")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCard:
    """The card of a running engine: its name, device, dtype, and the backbones and adapters whose files it holds.

    An engine publishes it once its self-test has passed; `selftest_seconds` is what that took. `kind` is a digest of
    the kind of device, the processor and the software: only engines of one kind share a certificate, in batches of
    `batch_size` samples. All three are None on the card of an earlier release.
    """

    name: str
    device: str
    dtype: str
    backbones: tuple[str, ...]
    seen_at: float
    selftest_seconds: float | None = None
    kind: str | None = None
    batch_size: int | None = None
    adapters: tuple[str, ...] = ()


class Catalogue:
    """Every card a request may name: the shipped ones, and those published in Redis, which holds the workers' too.

    A prompt that a tenant tuned is the tenant's own; every other prompt is everyone's.
    """

    def __init__(self, redis: Redis, *, tenant: str | None = None) -> None:
        """Sets the job store.

        Args:
            redis: The job store.
            tenant: The tenant whose own prompts are known beside those of everyone; None for those of all.
        """
        self._redis = redis
        self._tenant = tenant
        self._shipped_backbones = shipped_backbones()
        self._shipped_tasks = shipped_tasks()
        self._shipped_prompts = shipped_prompts()

    def seen_by(self, tenant: str) -> "Catalogue":
        """Returns the catalogue as a tenant sees it.

        Args:
            tenant: The tenant.
        """
        return Catalogue(self._redis, tenant=tenant)

    def backbones(self) -> dict[str, BackboneCard]:
        """Returns every backbone by id: the shipped ones, and the operator's own."""
        return {**self._published(BackboneCard, OWN_BACKBONES), **self._shipped_backbones}

    def tasks(self) -> dict[str, TaskCard]:
        """Returns every task by id: the shipped ones, and the operator's own."""
        return {**self._published(TaskCard, OWN_TASKS), **self._shipped_tasks}

    def publish_own(self, own: Cards) -> None:
        """Makes the operator's own cards known to every process, in place of all that were published before.

        Args:
            own: The backbones and tasks; its prompts are published with their bytes, by the engine.
        """
        with self._redis.pipeline(transaction=True) as change:
            for key, cards in _keys(own).items():
                change.delete(key)
                for card_id, card in cards.items():
                    change.hset(key, card_id, encode_card(card))
            change.execute()

    def restore_own(self, own: Cards) -> None:
        """Publishes the operator's own cards again if Redis has lost them.

        Args:
            own: See `publish_own`.
        """
        if any(cards and not self._redis.exists(key) for key, cards in _keys(own).items()):
            self.publish_own(own)

    def prompts(self) -> dict[str, PromptCard]:
        """Returns every prompt that is not withdrawn, by id."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(PROMPTS))
        published = {key.decode(): _prompt(value) for key, value in stored.items()}
        withdrawn = self._members(WITHDRAWN)
        if self._tenant is not None:
            owners = cast("dict[bytes, bytes]", self._redis.hgetall(PROMPT_TENANTS))
            foreign = {key.decode() for key, those in owners.items() if self._tenant not in those.decode().split()}
            withdrawn |= foreign | self._members(withdrawn_of(self._tenant))
        known = {**self._shipped_prompts, **published}
        return {prompt_id: card for prompt_id, card in sorted(known.items()) if prompt_id not in withdrawn}

    def prompt(self, prompt_id: str) -> PromptCard | None:
        """Returns the card of a prompt, withdrawn or not: jobs accepted before its withdrawal still use it."""
        stored = cast("bytes | None", self._redis.hget(PROMPTS, prompt_id))
        owners = self.tenants_of(prompt_id)
        if self._tenant is not None and owners and self._tenant not in owners:
            return None
        return self._shipped_prompts.get(prompt_id) if stored is None else _prompt(stored)

    def tenants_of(self, prompt_id: str) -> frozenset[str]:
        """Returns the tenants whose own a prompt is; none for one that is everyone's."""
        stored = cast("bytes | None", self._redis.hget(PROMPT_TENANTS, prompt_id))
        return frozenset((stored or b"").decode().split())

    @property
    def calibrations(self) -> Calibrations:
        """Returns the calibrations of prediction sets."""
        return Calibrations(self._redis)

    @property
    def adapters(self) -> AdapterCards:
        """The adapters."""
        return AdapterCards(self._redis)

    def default_prompts(self, task: str) -> list[PromptCard]:
        """Returns the prompts that a task may use when a request names none, by preference.

        Neither a withdrawn prompt nor one whose adapter is withdrawn is among them.
        """
        chosen = cast("bytes | None", self._redis.hget(DEFAULTS, task))
        cards = default_prompts(self.tasks()[task], self.prompts(), chosen.decode() if chosen else None)
        return [card for card in cards if not self.adapters.is_withdrawn(card.adapter)]

    def default_adapter(self, task: TaskCard | None) -> str | None:
        """Returns the id of the adapter that a task uses when a request names none; None for the frozen encoder.

        Args:
            task: The task; None for classes without one.
        """
        return None if task is None or self.adapters.is_withdrawn(task.default_adapter) else task.default_adapter

    def publish_prompt(self, card: PromptCard, tenants: Collection[str] = ()) -> None:
        """Makes a prompt known to every process; a withdrawn prompt stays withdrawn.

        The images that a card of this prompt recorded before stay recorded: a node may have an older card without them.
        A prompt that was everyone's stays everyone's, and others who tune the same prompt own it too.

        Args:
            card: The card of the prompt.
            tenants: The tenants whose own it is; none for one that is everyone's.

        Raises:
            ValueError: A field of the card has a wrong type, so that no process could read it.
        """
        decode_card(PromptCard, encode_card(card))

        def replace_card(change: Pipeline) -> None:
            stored = cast("bytes | None", change.hget(PROMPTS, card.id))
            owners = cast("bytes | None", change.hget(PROMPT_TENANTS, card.id))
            known = self._shipped_prompts.get(card.id) if stored is None else _readable(PromptCard, stored)
            is_everyones = not tenants or (known is not None and not owners)
            change.multi()
            change.hset(PROMPTS, card.id, encode_card(card.with_images_of(known)))
            if is_everyones:
                change.hdel(PROMPT_TENANTS, card.id)
            else:
                change.hset(PROMPT_TENANTS, card.id, " ".join(sorted({*tenants, *(owners or b"").decode().split()})))

        self._redis.transaction(replace_card, PROMPTS, PROMPT_TENANTS)

    def reinstate_prompt(self, prompt_id: str) -> None:
        """Puts a withdrawn prompt into use again: everyone's for everyone, a tenant's own for the tenant."""
        self._redis.srem(self._withdrawn(prompt_id), prompt_id)

    def withdraw_prompt(self, prompt_id: str) -> None:
        """Withdraws a prompt, for everyone or for the tenant whose own it is; bytes and certificates stay.

        It is no task's default any more, not even after its restoration.
        """
        withdrawn = self._withdrawn(prompt_id)
        self._redis.sadd(withdrawn, prompt_id)
        if withdrawn != WITHDRAWN and len(self.tenants_of(prompt_id)) > 1:
            return  # it stays the default for those that use it still
        chosen = cast("dict[bytes, bytes]", self._redis.hgetall(DEFAULTS))
        if tasks := [task for task, prompt in chosen.items() if prompt.decode() == prompt_id]:
            self._redis.hdel(DEFAULTS, *tasks)

    def choose_default(self, task: str, prompt_id: str) -> None:
        """Makes a prompt the task's default."""
        self._redis.hset(DEFAULTS, task, prompt_id)

    def publish_worker(self, card: WorkerCard) -> None:
        """Makes an engine known to every process."""
        self._redis.hset(WORKERS, card.name, encode_card(card))

    def forget_worker(self, name: str) -> None:
        """Removes the card of an engine, and what it published of its memory."""
        self._redis.hdel(WORKERS, name)
        self._redis.hdel(ENGINE_MEMORY, name)

    def workers(self) -> list[WorkerCard]:
        """Returns the engines that published themselves, with those that died since."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(WORKERS))
        return [decode_card(WorkerCard, value, allow_unknown=True) for _, value in sorted(stored.items())]

    def _withdrawn(self, prompt_id: str) -> str:
        """Returns the key of the set that a prompt is in once it is withdrawn."""
        return withdrawn_of(self._tenant) if self._tenant and self._tenant in self.tenants_of(prompt_id) else WITHDRAWN

    def _members(self, key: str) -> set[str]:
        return {member.decode() for member in cast("set[bytes]", self._redis.smembers(key))}

    def _published(self, kind: type[_Card], key: str) -> dict[str, _Card]:
        """Returns the published cards of a kind by id; those of a newer release may have more fields."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(key))
        return {name.decode(): decode_card(kind, stored[name], allow_unknown=True) for name in sorted(stored)}


def _keys(own: Cards) -> dict[str, Mapping[str, BackboneCard] | Mapping[str, TaskCard]]:
    """Returns the cards of each hash in Redis."""
    return {OWN_BACKBONES: own.backbones, OWN_TASKS: own.tasks}


def _readable(kind: type[_Card], payload: bytes) -> _Card | None:
    """Returns a published card; None for one that cannot be read, so that it can be replaced."""
    try:
        return decode_card(kind, payload, allow_unknown=True)
    except ValueError:
        return None


def _prompt(payload: bytes) -> PromptCard:
    """Returns a published card; one of a newer release may have more fields."""
    return decode_card(PromptCard, payload, allow_unknown=True)
