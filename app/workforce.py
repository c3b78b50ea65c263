"""The workforce: which workers are alive, read from RQ's registrations without changing them."""

from dataclasses import dataclass
from typing import Final, cast

from redis import Redis

from workers.contract.catalogue import Catalogue, WorkerCard
from workers.contract.names import GPU_QUEUE, INTAKE_QUEUE

QUEUES: Final = (INTAKE_QUEUE, GPU_QUEUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One RQ worker whose heartbeat has not run out."""

    name: str
    state: str
    last_heartbeat: str


def alive_workers(redis: Redis, queue: str) -> list[Worker]:
    """The workers of a queue; RQ lets the key of one without heartbeat expire."""
    keys = sorted(cast("set[bytes]", redis.smembers(f"rq:workers:{queue}")))
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "birth", "state", "last_heartbeat")
        answers = cast("list[list[bytes | None]]", pipe.execute())
    return [
        Worker(
            name=key.decode().removeprefix("rq:worker:"),
            state=(state or b"").decode(),
            last_heartbeat=(heartbeat or b"").decode(),
        )
        for key, (birth, state, heartbeat) in zip(keys, answers, strict=True)
        if birth is not None
    ]


def alive_engines(redis: Redis, catalogue: Catalogue) -> list[WorkerCard]:
    """The cards of the engines whose worker is alive."""
    alive = {worker.name for worker in alive_workers(redis, GPU_QUEUE)}
    return [card for card in catalogue.workers() if card.name in alive]
