"""Claims: which engine computes which batch of a certificate. They are hints; the ledger decides."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, cast

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import RedisError

from certrad.models.smoothing.blocks import Layout
from certrad.workers.contract.names import ENGINE_QUEUE, claims_key, lapses_key, ledger_key, record_key
from certrad.workers.contract.queues import queue
from certrad.workers.contract.scripts import HAS_ENDED
from certrad.workers.contract.tickets import MARK
from certrad.workers.engine.ledger import JobEndedError

_NOTHING: Final = -1
_LATER: Final = -2
_JOB_WAITS: Final = -3
_ENDED: Final = -4

_WAITING_LOOKED_AT: Final = 16  # entries at the head of the queue; tickets are put behind everything else
_WINDOW_BATCHES: Final = 8
_REMEMBERED: Final = 8  # the last claims, more than an engine ever has at once
_FIRST_LIFE_SECONDS: Final = 60.0
_LIFE_BATCHES: Final = 20
_LIFE_SECONDS: Final = (10.0, 600.0)

# KEYS record, claims, lapses; ARGV run, n, batch, size, ttl. An engine that resumes a run goes on with its claims.
_BEGIN: Final = f"""{HAS_ENDED}
if has_ended(KEYS[1]) then return 0 end
if redis.call('HGET', KEYS[2], 'run') ~= ARGV[1] then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[2], 'run', ARGV[1], 'n', ARGV[2], 'batch', ARGV[3], 'size', ARGV[4], 'next', 0, 'limit', 0)
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""

# KEYS record, ledger, claims, lapses, queue; ARGV run, prefix of its fields in the ledger, milliseconds of the claim,
# ttl, limit (-1: a helper, which keeps to the limit that stands and goes when other work waits), mark of a ticket,
# entries of the queue to look at, milliseconds since 1970. Answers the first sample of a batch, or one of the numbers
# above. The time is the engine's own: clocks that differ only let claims lapse early or late.
_CLAIM: Final = f"""{HAS_ENDED}
if has_ended(KEYS[1]) then return {_ENDED} end
local run = redis.call('HMGET', KEYS[3], 'run', 'n', 'batch', 'size', 'next', 'limit')
if run[1] ~= ARGV[1] then return {_NOTHING} end
local n, batch, size = tonumber(run[2]), tonumber(run[3]), tonumber(run[4])
local next, limit = tonumber(run[5]), tonumber(run[6])
if tonumber(ARGV[5]) < 0 then
  for _, id in ipairs(redis.call('LRANGE', KEYS[5], 0, tonumber(ARGV[7]) - 1)) do
    if not string.find(id, ARGV[6], 1, true) then return {_JOB_WAITS} end
  end
elseif tonumber(ARGV[5]) > limit then
  limit = tonumber(ARGV[5])
  redis.call('HSET', KEYS[3], 'limit', limit)
end
local function is_missing(start)
  for block = start, math.min(start + batch, n) - 1, size do
    if redis.call('HEXISTS', KEYS[2], ARGV[2] .. string.format('%d', block)) == 0 then return true end
  end
  return false
end
local now = tonumber(ARGV[8])
local function hand_out(start)
  redis.call('ZADD', KEYS[4], now + tonumber(ARGV[3]), string.format('%d', start))
  redis.call('EXPIRE', KEYS[4], ARGV[4])
  return start
end
while true do
  local lapsed = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 1)[1]
  if not lapsed then break end
  if is_missing(tonumber(lapsed)) then return hand_out(tonumber(lapsed)) end
  redis.call('ZREM', KEYS[4], lapsed)
end
local answer = {_NOTHING}
while next < n do
  if next >= limit then answer = {_LATER} break end
  local start = next
  next = next + batch
  if is_missing(start) then answer = hand_out(start) break end
end
redis.call('HSET', KEYS[3], 'next', next)
return answer
"""


@dataclass(slots=True, kw_only=True)
class Claims:
    """The claims that one engine makes on the batches of one run.

    Attributes:
        redis: The job store.
        job_id: The job's id.
        run: Name of the run of samples.
        ttl: Seconds that the claims of a job are kept.
        clock: Monotonic seconds.
        wall_clock: Seconds since 1970.
        answer: What the last claim was answered with.
    """

    redis: Redis
    job_id: str
    run: str
    ttl: int
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    answer: int = field(default=_NOTHING, init=False)
    _last: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED), init=False)
    _made: int = field(default=0, init=False)
    _began: float = field(default=0.0, init=False)
    _latest: float = field(default=0.0, init=False)
    _claim: Script = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._claim = self.redis.register_script(_CLAIM)

    @property
    def has_to_wait(self) -> bool:
        """Returns whether the last claim found nothing only because the labels so far may decide."""
        return self.answer == _LATER

    @property
    def job_waits(self) -> bool:
        """Returns whether the last claim found nothing because a job waits for an engine."""
        return self.answer == _JOB_WAITS

    @property
    def seconds_per_batch(self) -> float | None:
        """Returns the mean time between two claims up to the last one, or None before the second one."""
        return (self._latest - self._began) / (self._made - 1) if self._made > 1 else None

    def begin(self, layout: Layout) -> None:
        """Lets the batches of the run be claimed; one that was begun before goes on.

        Args:
            layout: How the samples are cut.

        Raises:
            JobEndedError: The job has ended.
        """
        keys = [record_key(self.job_id), claims_key(self.job_id), lapses_key(self.job_id)]
        args: list[str | int] = [self.run, layout.n, layout.batch_size, layout.block_size, self.ttl]
        if not self.redis.register_script(_BEGIN)(keys=keys, args=args):
            raise JobEndedError(self.job_id)

    def lead(self, limit: int) -> int | None:
        """Claims a batch for the engine that has the job.

        Args:
            limit: The sample that nobody should reach yet.

        Returns:
            The first sample of the batch; None if there is none for now.

        Raises:
            JobEndedError: The job has ended.
        """
        return self._next(limit)

    def help(self) -> int | None:
        """Claims a batch for an engine that helps; it gets none while a job waits for an engine.

        Returns:
            The first sample of the batch; None if there is none for now.

        Raises:
            JobEndedError: The job has ended.
        """
        return self._next(-1)

    def release(self) -> None:
        """Lets others claim at once what this engine claimed and may not have committed."""
        if self._last:
            with suppress(RedisError):  # the claims lapse by themselves
                self.redis.zadd(lapses_key(self.job_id), dict.fromkeys(map(str, self._last), 0), xx=True)
            self._last.clear()

    def end(self) -> None:
        """Removes the claims: nobody needs to compute any more."""
        self._last.clear()
        self.redis.delete(claims_key(self.job_id), lapses_key(self.job_id))

    def _next(self, limit: int) -> int | None:
        keys = [key(self.job_id) for key in (record_key, ledger_key, claims_key, lapses_key)]
        args: list[str | int] = [self.run, self.run, self._life_ms(), self.ttl, limit, MARK, _WAITING_LOOKED_AT]
        args.append(round(1000 * self.wall_clock()))
        self.answer = cast("int", self._claim(keys=[*keys, queue(self.redis, ENGINE_QUEUE).key], args=args))
        if self.answer == _ENDED:
            raise JobEndedError(self.job_id)
        if self.answer < 0:
            return None
        self._latest = self.clock()
        self._began = self._latest if not self._made else self._began
        self._made += 1
        self._last.append(self.answer)
        return self.answer

    def _life_ms(self) -> int:
        seconds = self.seconds_per_batch
        shortest, longest = _LIFE_SECONDS
        life = _FIRST_LIFE_SECONDS if seconds is None else min(max(_LIFE_BATCHES * seconds, shortest), longest)
        return round(1000 * life)


def limit_of(layout: Layout, decided: int, *, may_stop_early: bool) -> int:
    """Returns the sample that nobody should reach yet.

    Where the labels may decide before n, what is drawn beyond the stop is wasted: at most some batches, or half of the
    samples that were needed.

    Args:
        layout: How the samples are cut.
        decided: Samples that are counted already.
        may_stop_early: Whether the labels may decide before n.
    """
    if not may_stop_early:
        return layout.n
    return min(layout.n, decided + max(_WINDOW_BATCHES * layout.batch_size, decided // 2))


def current_run(redis: Redis, job_id: str) -> tuple[str, Layout] | None:
    """Returns the name and the layout of the run whose batches of a job may be claimed; None while there is none.

    Args:
        redis: The job store.
        job_id: The job's id.
    """
    found = cast("list[bytes | None]", redis.hmget(claims_key(job_id), ["run", "n", "batch", "size"]))
    if any(value is None for value in found):
        return None
    name, n, batch, size = (value.decode() for value in found if value is not None)
    return name, Layout(n=int(n), batch_size=int(batch), block_size=int(size))
