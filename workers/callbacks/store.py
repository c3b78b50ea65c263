"""The callbacks that wait and those that were given up, in Redis: no death of a process loses them.

The script that ends a job writes the note of its callback (`certrad.workers.contract.scripts`). Every change here is
one script too, and one that is sent twice, because its answer was lost, counts once.
"""

from collections.abc import Iterable, Iterator
from typing import Final, cast

from redis import Redis

from certrad.workers.callbacks.note import Note
from certrad.workers.contract.names import CALLBACKS, DEAD_CALLBACKS, TOTALS, callback_key

DELIVERED: Final = "callbacks_delivered"
RETRIED: Final = "callbacks_retried"
DEAD: Final = "callbacks_dead"
"""The fields of the hash of totals."""

MOST_DEAD: Final = 1_000
DEAD_SECONDS: Final = 30 * 86_400

# KEYS waiting; ARGV job, now, due. A process that moves a note that is due has it until then.
_TAKE: Final = """
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or tonumber(due) > tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
"""

# KEYS waiting, note, totals; ARGV job, field of the totals
_DELIVERED: Final = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
return 1
"""

# KEYS waiting, note, totals; ARGV job, field of the totals, attempts before, due, reason
_PLAN_RETRY: Final = """
if redis.call('HGET', KEYS[2], 'attempts') ~= ARGV[3] then return 0 end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('HINCRBY', KEYS[2], 'attempts', 1)
redis.call('HSET', KEYS[2], 'reason', ARGV[5])
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
return 1
"""

# KEYS waiting, note, totals, dead; ARGV job, field of the totals, reason, now, seconds it is kept, how many are kept,
# what the keys of notes begin with, attempts since the note was read
_GIVE_UP: Final = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], 'attempts', ARGV[8])
redis.call('HSET', KEYS[2], 'reason', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', tonumber(ARGV[4]) - tonumber(ARGV[5]))
for _, old in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1 - tonumber(ARGV[6]))) do
  redis.call('ZREM', KEYS[4], old)
  redis.call('DEL', ARGV[7] .. old)
end
return 1
"""

# KEYS waiting, note, dead; ARGV job, now
_RESTART: Final = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[2], 'attempts', 0, 'began_at', ARGV[2])
redis.call('PERSIST', KEYS[2])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
"""


class CallbackStore:
    """Reads and changes the notes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._delivered = redis.register_script(_DELIVERED)
        self._plan_retry = redis.register_script(_PLAN_RETRY)
        self._give_up = redis.register_script(_GIVE_UP)
        self._restart = redis.register_script(_RESTART)

    def due(self, now: float, *, limit: int) -> list[Note]:
        """Returns notes that are due, those that wait longest first.

        Args:
            now: Seconds since 1970.
            limit: How many at most.
        """
        ids = cast("list[bytes]", self._redis.zrangebyscore(CALLBACKS, "-inf", now, start=0, num=limit))
        return list(self._notes(CALLBACKS, ids))

    def take(self, note: Note, now: float, *, until: float) -> bool:
        """Returns whether a note that is due belongs to the caller alone, until a time at which it is due again.

        Args:
            note: The note.
            now: Seconds since 1970.
            until: Seconds since 1970.
        """
        return bool(self._take(keys=[CALLBACKS], args=[note.job, repr(now), repr(until)]))

    def delivered(self, note: Note) -> bool:
        """Forgets a note whose message was delivered; returns False if somebody did so before."""
        keys = [CALLBACKS, callback_key(note.job), TOTALS]
        return bool(self._delivered(keys=keys, args=[note.job, DELIVERED]))

    def plan_retry(self, note: Note, *, due: float, reason: str) -> bool:
        """Counts an attempt that failed, and plans the next one.

        Args:
            note: The note as it was read before the attempt.
            due: When to try again, in seconds since 1970.
            reason: A code of what went wrong.

        Returns:
            False if the attempt is counted already, or the note is gone.
        """
        keys = [CALLBACKS, callback_key(note.job), TOTALS]
        return bool(self._plan_retry(keys=keys, args=[note.job, RETRIED, str(note.attempts), repr(due), reason]))

    def give_up(self, note: Note, now: float, *, reason: str, attempts: int) -> bool:
        """Puts a note among those that were given up, of which the oldest go beyond a number and an age.

        Args:
            note: The note.
            now: Seconds since 1970.
            reason: A code of what went wrong.
            attempts: How many attempts were made since the note was read; they are added to its own.

        Returns:
            False if somebody did so before.
        """
        keys = [CALLBACKS, callback_key(note.job), TOTALS, DEAD_CALLBACKS]
        kept: list[str | int] = [DEAD_SECONDS, MOST_DEAD, callback_key("")]
        return bool(self._give_up(keys=keys, args=[note.job, DEAD, reason, repr(now), *kept, attempts]))

    def waiting(self) -> Iterator[tuple[Note, float]]:
        """Yields the notes that wait and when each is due, those that are due first before others."""
        return self._listed(CALLBACKS)

    def dead(self) -> Iterator[tuple[Note, float]]:
        """Yields the notes that were given up and when, oldest first."""
        return self._listed(DEAD_CALLBACKS)

    def restart(self, job: str | None, now: float) -> int:
        """Restarts notes that wait or were given up: their attempts and their age are counted anew.

        Args:
            job: Id of a job; None for all that were given up.
            now: Seconds since 1970.

        Returns:
            How many there are.
        """
        jobs = [note.job for note, _ in self.dead()] if job is None else [job]
        began = (
            self._restart(keys=[CALLBACKS, callback_key(each), DEAD_CALLBACKS], args=[each, repr(now)]) for each in jobs
        )
        return sum(map(int, began))

    def drop(self, job: str | None) -> int:
        """Forgets notes that wait or were given up; nothing is delivered.

        Args:
            job: Id of a job; None for all that were given up.

        Returns:
            How many there were.
        """
        dropped = 0
        for each in [note.job for note, _ in self.dead()] if job is None else [job]:
            dropped += int(self._redis.delete(callback_key(each)))
            self._redis.zrem(CALLBACKS, each)
            self._redis.zrem(DEAD_CALLBACKS, each)
        return dropped

    def _listed(self, name: str) -> Iterator[tuple[Note, float]]:
        scored = cast("list[tuple[bytes, float]]", self._redis.zrange(name, 0, -1, withscores=True))
        scores = {job.decode(): score for job, score in scored}
        for note in self._notes(name, [job for job, _ in scored]):
            yield note, scores[note.job]

    def _notes(self, name: str, ids: Iterable[bytes]) -> Iterator[Note]:
        """Yields the notes of some jobs; an id whose note is gone, or is none, is forgotten."""
        for job in ids:
            stored = cast("dict[bytes, bytes]", self._redis.hgetall(callback_key(job.decode())))
            try:
                yield Note.from_fields(job.decode(), stored)
            except (KeyError, ValueError):
                self._redis.zrem(name, job)
