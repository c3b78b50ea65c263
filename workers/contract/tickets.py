"""Tickets: RQ jobs that ask idle engines to take part in a certificate that another engine has."""

import uuid
from collections.abc import Iterable
from typing import Final

from redis import Redis
from rq.job import Job

from certrad.workers.contract.names import TASKS
from certrad.workers.contract.queues import queue
from certrad.workers.contract.settings import SharedSettings

MARK: Final = "-assist-"
"""Between the id of the job and a random part; it tells a ticket from every other RQ job."""

_QUEUE, _PATH = TASKS["assist"]


def is_ticket(rq_id: str) -> bool:
    """Returns whether an RQ job is a ticket: losing it costs nobody anything.

    Args:
        rq_id: The id of the RQ job.
    """
    return MARK in rq_id


def offer(redis: Redis, job_id: str, number: int, *, settings: SharedSettings) -> list[str]:
    """Puts tickets for a job behind everything that waits for an engine.

    A ticket is never tried again: the engine that has the job needs no help to finish it.

    Args:
        redis: The job store.
        job_id: The job's id.
        number: Engines that may take part besides those that do already.
        settings: The time limit of a stage.

    Returns:
        The ids of the tickets.
    """
    rq_queue = queue(redis, _QUEUE)
    tickets = [f"{job_id}{MARK}{uuid.uuid4().hex[:8]}" for _ in range(number)]
    for ticket in tickets:
        rq_queue.enqueue_call(
            func=_PATH, args=(job_id,), job_id=ticket, timeout=settings.job_timeout, result_ttl=0, failure_ttl=60
        )
    return tickets


def withdraw(redis: Redis, tickets: Iterable[str]) -> None:
    """Takes back those of the tickets that no engine has taken.

    Args:
        redis: The job store.
        tickets: Their ids.
    """
    rq_queue = queue(redis, _QUEUE)
    for ticket in tickets:
        if redis.lrem(rq_queue.key, 0, ticket):
            redis.delete(Job.key_for(ticket))
