"""The Lua scripts that change a job in one step; Redis runs nothing else meanwhile."""

from typing import Final

from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.drift import MOST_SERIES
from certrad.workers.contract.names import (
    CALLBACKS,
    ENDED,
    NEWS,
    active_of,
    callback_key,
    keys_of_running,
    record_key,
    urgent_key,
)
from certrad.workers.contract.totals import DROPPED, MOST_FIELDS, field

# Deletes what does not outlive a job. Its keys are made here, not given: Redis would demand that the caller may read
# them, and the API may delete pixels, but not read them.
_PARTS: Final = [key.removeprefix(record_key("")) for key in keys_of_running("")]
_FORGET: Final = "redis.call('DEL', " + ", ".join(f"KEYS[1] .. '{part}'" for part in _PARTS) + ")"

# Opens every script that may only touch a job under way: whether it has ended, or has no record (any more).
HAS_ENDED: Final = f"""
local function has_ended(record)
  local status = redis.call('HGET', record, 'status')
  return not status or {" or ".join(f"status == '{ended}'" for ended in sorted(ENDED))}
end
"""

# Says that a job has a new event: its followers read its stream then. The record's key ends with the id. Where an
# ACL forbids the channel, followers only read later.
_ANNOUNCE: Final = f"redis.pcall('PUBLISH', '{NEWS}', string.match(KEYS[1], '[^:]*$'))"

# KEYS record, active, jobs, idempotency ('' for none), the tenant's urgent jobs ('' for a normal one), its active jobs,
# its jobs, tenants; ARGV id, now, ttl, bound, request digest, bound of urgent jobs, bound of the tenant, tenant, field,
# value, ...
# Redis' clients send a script again when its answer gets lost, so the job it created already is no other job.
# A refusal has no id, and its reason in the place of the digest.
CREATE: Final = """
if KEYS[4] ~= '' then
  local known = redis.call('HMGET', KEYS[4], 'job', 'digest')
  if known[1] then return {known[1], known[2]} end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {ARGV[1], ARGV[5]} end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return {'', 'queue'} end
if redis.call('ZCARD', KEYS[6]) >= tonumber(ARGV[7]) then return {'', 'tenant'} end
if KEYS[5] ~= '' and redis.call('ZCARD', KEYS[5]) >= tonumber(ARGV[6]) then return {'', 'urgent'} end
redis.call('HSET', KEYS[1], unpack(ARGV, 9))
for _, list in ipairs({2, 3, 6, 7}) do redis.call('ZADD', KEYS[list], ARGV[2], ARGV[1]) end
redis.call('SADD', KEYS[8], ARGV[8])
if KEYS[5] ~= '' then redis.call('ZADD', KEYS[5], ARGV[2], ARGV[1]) end
if KEYS[4] ~= '' then
  redis.call('HSET', KEYS[4], 'job', ARGV[1], 'digest', ARGV[5])
  redis.call('EXPIRE', KEYS[4], ARGV[3])
end
return {ARGV[1], ARGV[5]}
"""

TIMED: Final = "decoding unpacking waiting loading"
"""The phases whose first start a record keeps, for the waits of the job."""

# KEYS record, events; ARGV events kept, ttl, event name, event data, field, value, ...
# A phase that the job is in already is entered again without a word, as by the stage that goes on with it.
ADVANCE: Final = f"""{HAS_ENDED}
if has_ended(KEYS[1]) then return 0 end
local before = redis.call('HGET', KEYS[1], 'phase')
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
if ARGV[3] ~= 'phase' or redis.call('HGET', KEYS[1], 'phase') ~= before then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[3], 'data', ARGV[4])
  {_ANNOUNCE}
end
local phase = redis.call('HGET', KEYS[1], 'phase')
if phase ~= before and string.find('{TIMED}', phase, 1, true) then
  redis.call('HSETNX', KEYS[1], phase .. '_at', redis.call('HGET', KEYS[1], 'updated_at'))
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""

# Adds to a counter. An error here, as of a key that holds something else, must not keep a job from its end.
_COUNT: Final = f"""
local function add(key, field, amount)
  redis.pcall(string.find(amount, '.', 1, true) and 'HINCRBYFLOAT' or 'HINCRBY', key, field, amount)
end
local function add_total(key, field, amount)
  if redis.pcall('HEXISTS', key, field) == 0 and redis.pcall('HLEN', key) >= {MOST_FIELDS} then
    field, amount = '{field(DROPPED.name)}', '1'
  end
  add(key, field, amount)
end
local function add_to_series(key, counted)
  local series = counted.series
  if redis.pcall('HEXISTS', key, series) == 0 then
    if tonumber(redis.pcall('HGET', key, 'series') or 0) >= {MOST_SERIES} then series = counted.other
    else
      redis.pcall('HINCRBY', key, 'series', 1)
      redis.pcall('HSET', key, series, 1)
    end
  end
  for _, each in ipairs(counted.drift) do add(key, series .. '\\n' .. each[1], each[2]) end
end
"""

# Notes the receiver of the callback in the step that ends a job, so that no crash comes between. ARGV[5] is the job's
# id. The note outlives the record: what is not sent yet may be sent after the record has expired.
_NOTE_CALLBACK: Final = f"""
local callback = redis.call('HMGET', KEYS[1], 'callback', 'tenant', 'status', 'updated_at')
if callback[1] then
  redis.call('HSET', '{callback_key("")}' .. ARGV[5], 'address', callback[1], 'tenant', callback[2] or '{LOCAL_TENANT}',
    'status', callback[3], 'ended_at', callback[4], 'attempts', 0, 'reason', '')
  redis.call('ZADD', '{CALLBACKS}', callback[4], ARGV[5])
end
"""

# KEYS record, events, active, totals, drift of the tenant's day, drift of all; ARGV seconds that the events are kept,
# ttl of the record, event name, event data, id, counters as JSON, seconds that the day is kept, field, value, ...
# A full Redis refuses a script at its first command that may take memory, unless it has written before: what frees
# memory comes first, so that jobs can be ended then too.
END: Final = f"""{HAS_ENDED}{_COUNT}
if has_ended(KEYS[1]) then return 0 end
redis.call('ZREM', KEYS[3], ARGV[5])
local tenant = redis.call('HGET', KEYS[1], 'tenant') or '{LOCAL_TENANT}'
redis.call('ZREM', '{active_of("")}' .. tenant, ARGV[5])
redis.call('ZREM', '{urgent_key("")}' .. tenant, ARGV[5])
{_FORGET}
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'event', ARGV[3], 'data', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[1])
{_NOTE_CALLBACK}
local counted = cjson.decode(ARGV[6])
for _, each in ipairs(counted.totals) do add_total(KEYS[4], each[1], each[2]) end
if counted.series then
  add_to_series(KEYS[5], counted)
  redis.call('EXPIRE', KEYS[5], ARGV[7])
  add_to_series(KEYS[6], counted)
end
{_ANNOUNCE}
return 1
"""

# KEYS record, key; ARGV ttl, the command that writes the key, its arguments
PUT: Final = f"""{HAS_ENDED}
if has_ended(KEYS[1]) then return 0 end
redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1
"""
