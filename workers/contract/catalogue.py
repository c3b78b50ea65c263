"""The cards of backbones, tasks and prompts: those shipped with the package and those workers publish."""

from dataclasses import dataclass
from typing import cast

from redis import Redis

from certrad.models.shipped import shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import PromptCard
from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.defaults import default_prompts
from certrad.workers.contract.names import DEFAULTS, PROMPTS, WITHDRAWN, WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCard:
    """The card of a running engine: its name, device, dtype and the backbones whose weights it holds."""

    name: str
    device: str
    dtype: str
    backbones: tuple[str, ...]
    seen_at: float


class Catalogue:
    """Every card a request may name: the shipped ones, and the prompts and workers published in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.backbones = shipped_backbones()
        self.tasks = shipped_tasks()
        self._shipped_prompts = shipped_prompts()

    def prompts(self) -> dict[str, PromptCard]:
        """Returns every prompt that is not withdrawn, by id."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(PROMPTS))
        published = {key.decode(): _prompt(value) for key, value in stored.items()}
        withdrawn = {member.decode() for member in cast("set[bytes]", self._redis.smembers(WITHDRAWN))}
        known = {**self._shipped_prompts, **published}
        return {prompt_id: card for prompt_id, card in sorted(known.items()) if prompt_id not in withdrawn}

    def prompt(self, prompt_id: str) -> PromptCard | None:
        """Returns the card of a prompt, withdrawn or not: jobs accepted before its withdrawal still use it."""
        stored = cast("bytes | None", self._redis.hget(PROMPTS, prompt_id))
        return self._shipped_prompts.get(prompt_id) if stored is None else _prompt(stored)

    def default_prompts(self, task: str) -> list[PromptCard]:
        """Returns the prompts that a task may use when a request names none, by preference, without withdrawn ones."""
        chosen = cast("bytes | None", self._redis.hget(DEFAULTS, task))
        return default_prompts(self.tasks[task], self.prompts(), chosen.decode() if chosen else None)

    def publish_prompt(self, card: PromptCard) -> None:
        """Makes a prompt known to every process; a withdrawn prompt stays withdrawn.

        Raises:
            ValueError: A field of the card has a wrong type, so that no process could read it.
        """
        payload = encode_card(card)
        decode_card(PromptCard, payload)
        self._redis.hset(PROMPTS, card.id, payload)

    def reinstate_prompt(self, prompt_id: str) -> None:
        """Puts a withdrawn prompt into use again."""
        self._redis.srem(WITHDRAWN, prompt_id)

    def withdraw_prompt(self, prompt_id: str) -> None:
        """Withdraws a prompt; its bytes and the certificates made with it stay.

        It is no task's default any more, not even after its restoration.
        """
        self._redis.sadd(WITHDRAWN, prompt_id)
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
        """Removes the card of an engine."""
        self._redis.hdel(WORKERS, name)

    def workers(self) -> list[WorkerCard]:
        """Returns the engines that published themselves, with those that died since."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(WORKERS))
        return [decode_card(WorkerCard, value, allow_unknown=True) for _, value in sorted(stored.items())]


def _prompt(payload: bytes) -> PromptCard:
    """Returns a published card; one of a newer release may have more fields."""
    return decode_card(PromptCard, payload, allow_unknown=True)
