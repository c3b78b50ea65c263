"""The order of the entries of a queue: by precedence, then in rounds in which each tenant has one turn."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from redis import Redis
from redis.exceptions import OutOfMemoryError

from certrad.workers.contract.names import queue_key, split_entry, turns_key

FINISH, URGENT, NORMAL, LEAST = range(4)

Reason = Literal["new", "again", "repair"]
"""Why an entry is placed: it is new; its job had a turn and goes on; or nobody is known to have placed it."""

_IN_TURN: Final = frozenset({"decode", "unpack", "certify", "tune", "finish"})  # every other stage goes last
_KNOWN: Final = "|".join(("", *sorted(_IN_TURN), ""))

# KEYS list of the queue, hash id -> 'precedence:round:tenant'; ARGV id, precedence, tenant, reason, known stages.
# Answers whether the entry is waiting. It is in the list before, and at whatever moment a process dies: only Redis
# takes it out, and puts it in again in the same step. An entry that is gone has had its turn: the hash then has it as
# the last turn of its tenant, `=precedence:tenant`, as long as it belongs to the newest round. The first command that
# may take memory comes before all others that write, since a full Redis refuses a script there and nowhere later.
# `next_turn` and `index_of` model it for a new entry; tests/integration/test_turns.py compares them.
_PLACE: Final = f"""
-- The entries that wait, in their order, and where this one stands among them.
local ids, present = redis.call('LRANGE', KEYS[1], 0, -1), {{}}
for i, id in ipairs(ids) do present[id] = i end
local at, mine = present[ARGV[1]], tonumber(ARGV[2])
-- What the hash has: the turns of entries, and the last turns of tenants, whose fields begin with `=`.
local flat, turns, lasts = redis.call('HGETALL', KEYS[2]), {{}}, {{}}
for i = 1, #flat, 2 do
  local precedence, round, tenant = string.match(flat[i + 1], '^(%d+):(%d+):(.*)$')
  turns[flat[i]] = {{tonumber(precedence), tonumber(round), tenant}}
end
-- The turns that were had: the last one of each tenant, and the newest round of each precedence.
local newest = {{}}
for field, turn in pairs(turns) do
  if not present[field] then
    local last = '=' .. turn[1] .. ':' .. turn[3]
    if not lasts[last] or lasts[last][2] < turn[2] then lasts[last] = turn end
    newest[turn[1]] = math.max(newest[turn[1]] or 0, turn[2])
  end
end
-- Among the entries that wait: the first round of this precedence, the last one of this tenant, and whether an entry
-- with a turn stands before this one.
local own, head, led = 0, nil, false
for i, id in ipairs(ids) do
  local turn = turns[id]
  if turn and id ~= ARGV[1] then
    if not at or i < at then led = true end
    if turn[1] == mine then
      head = math.min(head or turn[2], turn[2])
      if turn[3] == ARGV[3] then own = math.max(own, turn[2]) end
    end
  end
end
-- A repair leaves an entry alone that has a turn, or that RQ put before all entries with one.
if at and ARGV[4] == 'repair' and (turns[ARGV[1]] or not led) then return 1 end
-- The round: the newest one that has begun, after the last one of the tenant; of a job that goes on, the current one.
local taken = lasts['=' .. mine .. ':' .. ARGV[3]]
local round = math.min(head or math.huge, newest[mine] or math.huge)
if ARGV[4] ~= 'new' and head then round = head end
if round == math.huge then round = 1 end
if ARGV[4] == 'new' then round = math.max(round, own + 1, taken and taken[2] + 1 or 1) end
-- The place: behind the last entry whose turn is not later. An entry without a turn shares that of the one before it.
local before, last = {{{URGENT}, 0}}, nil
for i, id in ipairs(ids) do
  if id ~= ARGV[1] then
    local turn = turns[id]
    local stage = string.match(id, '-(%a+)$') or ''
    if not turn then turn = string.find(ARGV[5], '|' .. stage .. '|', 1, true) and before or {{{LEAST}, 0}} end
    before = turn
    if turn[1] < mine or (turn[1] == mine and turn[2] <= round) then last = id end
  end
end
-- The turn is kept; that of an entry which a worker has taken already is one that its tenant had.
if at then redis.call('HSET', KEYS[2], ARGV[1], mine .. ':' .. round .. ':' .. ARGV[3])
else
  lasts['=' .. mine .. ':' .. ARGV[3]] = {{mine, round, ARGV[3]}}
  newest[mine] = math.max(newest[mine] or 0, round)
end
-- Last turns are kept as long as they are of the newest round, and turns as long as their entry waits.
for field, turn in pairs(lasts) do
  if turn[2] == newest[turn[1]] then redis.call('HSET', KEYS[2], field, turn[1] .. ':' .. turn[2] .. ':' .. turn[3])
  else lasts[field] = nil end
end
for field, _ in pairs(turns) do
  if not present[field] and not lasts[field] then redis.call('HDEL', KEYS[2], field) end
end
-- The entry moves, unless a worker has taken it or it stands at its place.
if not at then return 0 end
if (at == 1 and not last) or (at > 1 and ids[at - 1] == last) then return 1 end
redis.call('LREM', KEYS[1], 0, ARGV[1])
if last then redis.call('LINSERT', KEYS[1], 'AFTER', last, ARGV[1]) else redis.call('LPUSH', KEYS[1], ARGV[1]) end
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The turn of one entry.

    Attributes:
        precedence: FINISH before URGENT before NORMAL before LEAST.
        round: The round within the precedence.
        tenant: The tenant whose turn it is.
    """

    precedence: int
    round: int
    tenant: str

    @property
    def rank(self) -> tuple[int, int]:
        """Returns what entries are ordered by; among equals, the one that came first goes first."""
        return self.precedence, self.round


def precedence_of(stage: str, *, urgent: bool) -> int:
    """Returns the precedence of a stage; one that only helps with others, or that is unknown, goes after them.

    Args:
        stage: The name of the stage.
        urgent: Whether its job goes before every normal one.
    """
    if stage == "finish":  # the work is done, and only its end is missing
        return FINISH
    if stage not in _IN_TURN:
        return LEAST
    return URGENT if urgent else NORMAL


def next_turn(waiting: Iterable[Turn], last: Iterable[Turn] = (), *, precedence: int, tenant: str) -> Turn:
    """Returns the turn of a new entry: in the newest round that has begun, or in the one after its tenant's last.

    Args:
        waiting: The turns of the entries that wait.
        last: The last turn that each tenant had.
        precedence: The precedence of the new entry.
        tenant: Its tenant.
    """
    to_come = [turn for turn in waiting if turn.precedence == precedence]
    had = [turn for turn in last if turn.precedence == precedence]
    rounds = [turn.round for turn in to_come]
    if had:
        rounds.append(max(turn.round for turn in had))
    own = [turn.round + 1 for turn in (*to_come, *had) if turn.tenant == tenant]
    return Turn(precedence=precedence, round=max([min(rounds, default=1), *own]), tenant=tenant)


def index_of(turn: Turn, waiting: Sequence[Turn]) -> int:
    """Returns where an entry with a turn goes among the entries that wait.

    Args:
        turn: The turn of the entry.
        waiting: The turns of the entries that wait, in their order.
    """
    return max((index + 1 for index, other in enumerate(waiting) if other.rank <= turn.rank), default=0)


def read_turns(ids: Sequence[str], stored: Mapping[bytes, bytes]) -> list[Turn]:
    """Returns the turn of each entry of a queue, in its order; one without a turn shares that of the one before it.

    Args:
        ids: The entries.
        stored: The hash of the queue's turns.
    """
    turns: list[Turn] = []
    before = Turn(precedence=URGENT, round=0, tenant="")
    for entry in ids:
        known = stored.get(entry.encode())
        if known is not None:
            precedence, number, tenant = known.decode().split(":", 2)
            before = Turn(precedence=int(precedence), round=int(number), tenant=tenant)
        elif split_entry(entry)[1] not in _IN_TURN:
            before = Turn(precedence=LEAST, round=0, tenant="")
        turns.append(before)
    return turns


def read_last_turns(stored: Mapping[bytes, bytes]) -> list[Turn]:
    """Returns the last turn of each tenant that had one in the newest round.

    Args:
        stored: The hash of the queue's turns.
    """
    lasts = [value.decode().split(":", 2) for field, value in stored.items() if field.startswith(b"=")]
    return [Turn(precedence=int(precedence), round=int(number), tenant=tenant) for precedence, number, tenant in lasts]


def place(redis: Redis, queue: str, entry: str, *, urgent: bool, tenant: str, reason: Reason = "new") -> bool:
    """Moves an entry that waits in a queue to its fair place; one that a worker has taken stays where it is.

    A new entry comes into the newest round that has begun, or into the one after the last of its tenant. A job that
    goes `again` comes behind the entries of the current round. With `repair`, entries that have a turn, and those that
    RQ put at the front, are left alone. A full Redis leaves the entry where it is.

    Args:
        redis: The job store.
        queue: The name of the queue.
        entry: The id of the RQ job, which ends with its stage.
        urgent: Whether it goes before every normal one.
        tenant: The tenant of its job.
        reason: Why it is placed.

    Returns:
        Whether it is waiting.
    """
    precedence = precedence_of(split_entry(entry)[1], urgent=urgent)
    with suppress(OutOfMemoryError):  # its place can wait, and `repair` comes
        keys = [queue_key(queue), turns_key(queue)]
        return bool(redis.register_script(_PLACE)(keys=keys, args=[entry, precedence, tenant, reason, _KNOWN]))
    return True


def forget(redis: Redis, queue: str, entry: str) -> None:
    """Forgets the turn of an entry, so that it shares the turn of the entry before it.

    Args:
        redis: The job store.
        queue: The name of the queue.
        entry: The id of the RQ job.
    """
    redis.hdel(turns_key(queue), entry)
