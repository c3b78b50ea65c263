"""What the queues would do if nothing changed: when each job that waits gets an engine, and how long it has it."""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from certrad.workers.contract.turns import NORMAL, Turn, index_of, next_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One job that waits for an engine, or for intake first.

    Attributes:
        job_id: Its id.
        turn: Its turn in the queue that it is in.
        seconds: The time that an engine needs for it; None if nobody knows. Of a tuning, one slice.
        is_tuning: Whether it makes room for certificates after `seconds`.
    """

    job_id: str
    turn: Turn
    seconds: float | None
    is_tuning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The state of the queues at one moment.

    Attributes:
        engines: Seconds until each living engine is free; None for one whose job nobody can tell the length of.
        intakes: Number of intake workers that are alive.
        intake_seconds: The time that intake takes for one image.
        decoding: Jobs that wait for intake, in the order of its queue.
        waiting: Jobs that wait for an engine, in the order of its queue.
        last_decoded: The last turn that each tenant had at intake.
        last_run: The last turn that each tenant had at an engine.
    """

    engines: Sequence[float | None]
    intakes: int
    intake_seconds: float
    decoding: Sequence[Work] = ()
    waiting: Sequence[Work] = ()
    last_decoded: Sequence[Turn] = ()
    last_run: Sequence[Turn] = ()

    def with_new(self, work: Work) -> "Queues":
        """Returns the queues with one more job, as intake would get it.

        Args:
            work: The job; its turn is that of a first one.
        """
        turns = [other.turn for other in self.decoding]
        turn = next_turn(turns, self.last_decoded, precedence=work.turn.precedence, tenant=work.turn.tenant)
        at = index_of(turn, turns)
        new = replace(work, turn=turn)
        return replace(self, decoding=[*self.decoding[:at], new, *self.decoding[at:]])


@dataclass(slots=True)
class _Line:
    """The queue of the engines while time goes on."""

    waiting: list[Work]
    arrivals: list[tuple[float, int, Work]]
    last: dict[tuple[int, str], Turn]
    arrived: int = 0

    def next_start(self, now: float) -> float | None:
        """Takes in what has arrived, and returns when the next job can start, now or later; None if none is to come."""
        if not self.waiting and self.arrived < len(self.arrivals):
            now = max(now, self.arrivals[self.arrived][0])
        while self.arrived < len(self.arrivals) and self.arrivals[self.arrived][0] <= now:
            work = self.arrivals[self.arrived][2]
            self.arrived += 1
            turns = [other.turn for other in self.waiting]
            last = self.last.values()
            turn = next_turn(turns, last, precedence=work.turn.precedence, tenant=work.turn.tenant)
            self.waiting.insert(index_of(turn, turns), replace(work, turn=turn))
        return now if self.waiting else None

    def take(self) -> Work:
        """Takes the first entry, which has its turn now."""
        work = self.waiting.pop(0)
        self.last[work.turn.precedence, work.turn.tenant] = work.turn
        return work

    def hand_back(self, work: Work) -> None:
        """Puts a tuning behind the entries of the current round, the lowest in which a normal job waits."""
        turns = [other.turn for other in self.waiting]
        current = min((turn.round for turn in turns if turn.precedence == NORMAL), default=1)
        turn = replace(work.turn, round=current)
        self.waiting.insert(index_of(turn, turns), replace(work, turn=turn))

    @property
    def has_certificates(self) -> bool:
        return self.arrived < len(self.arrivals) or any(not work.is_tuning for work in self.waiting)


def waits(queues: Queues) -> dict[str, float]:
    """Returns the seconds until each waiting job gets an engine; a job that waits for an unknown time is left out.

    Several engines take one job each: that idle ones help with a certificate shortens its wait and is left out. A
    tuning has a slice in each round until no certificate is left; then its own end is unknown, and so is what follows.

    Args:
        queues: The queues.
    """
    engines = [seconds for seconds in queues.engines if seconds is not None]
    if not engines:
        return {}
    heapify(engines)
    last = {(turn.precedence, turn.tenant): turn for turn in queues.last_run}
    line = _Line(list(queues.waiting), _arrivals(queues), last)
    found: dict[str, float] = {}
    while (start := line.next_start(engines[0])) is not None:
        work = line.take()
        found.setdefault(work.job_id, start)
        heappop(engines)
        if work.seconds is not None and (not work.is_tuning or line.has_certificates):
            heappush(engines, start + work.seconds)
        if work.is_tuning and line.has_certificates:
            line.hand_back(work)
        if not engines:
            break
    return found


def _arrivals(queues: Queues) -> list[tuple[float, int, Work]]:
    """Returns when each job that intake has leaves it, by time."""
    if not queues.intakes:
        return []
    free = [0.0] * queues.intakes
    arrivals: list[tuple[float, int, Work]] = []
    for place, work in enumerate(queues.decoding):
        done = heappop(free) + queues.intake_seconds
        heappush(free, done)
        insort(arrivals, (done, place, work))
    return arrivals


def remaining(seconds_of: Mapping[str, float | None], engines: int) -> list[float | None]:
    """Returns the seconds until each engine is free; those without a job are free now.

    Args:
        seconds_of: Job -> seconds that it still needs, of the jobs that engines have.
        engines: Number of living engines.
    """
    busy = list(seconds_of.values())[:engines]
    return [*busy, *[0.0] * (engines - len(busy))]
