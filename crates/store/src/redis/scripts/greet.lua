-- Runs on every new connection before anything else: finds out whether this server is the one, in the life, that
-- the stored state was written by, and begins a new epoch if it is not: revisions might be given out twice.
--
-- ARGV: the newest schema that is known; the greatest epoch and revision that the caller has seen; how long the
-- first quarantine lasts in ms.

-- No kind is called like that.
local SCHEMA = '#schema'

local function told(section, field)
  return string.match(redis.call('INFO', section), field .. ':([^\r\n]+)')
end

local row = redis.call('HMGET', META, 'schema', 'epoch', 'head', 'run', 'replication', 'offset', 'clock',
  'quarantine', 'quarantine_ms')
-- In a second place, should `meta` be deleted.
local schema = number('schema', row[1] or redis.call('HGET', FLOORS, SCHEMA))
if schema > tonumber(ARGV[1]) then return { 'newer', schema } end
if told('replication', 'role') ~= 'master' then return { 'replica' } end
local run, replication = told('server', 'run_id'), told('replication', 'master_replid')
-- A server that lived on beside its successor is still in the life that it wrote; whoever has seen a later one
-- holds leases and sessions that it knows nothing of.
local is_latest = row[2] and number('epoch', row[2]) >= tonumber(ARGV[2])
-- The first replica that joins gives the server another replication id, and so does the backlog that is dropped
-- after the last has left. A promotion leaves the id that it had before as the second one.
local is_promoted = not string.match(told('replication', 'master_replid2'), '^0+$')
local length = math.max(tonumber(ARGV[4]), number('quarantine_ms', row[9]))
if is_latest and row[3] and row[4] == run and (row[5] == replication or not is_promoted) then
  if row[5] ~= replication or tonumber(row[9]) ~= length then
    redis.call('HSET', META, 'replication', replication, 'quarantine_ms', length)
  end
  return { 'same', number('epoch', row[2]), number('head', row[3]) }
end

local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local ms = math.floor(us / 1000)
local before, head_before = number('epoch', row[2]), number('head', row[3])
local offset, clock = number('offset', row[6]), number('clock', row[7])
if ms + offset < clock then offset = clock - ms end
local now = ms + offset

check_type(LOG, 'stream')
check_type(FLOORS, 'hash')
local newest = redis.call('EXISTS', LOG) == 1 and redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)[1]
local logged = newest and tonumber(string.match(newest[1], '^%d+')) or 0
local epoch = math.max(before + 1, ms, tonumber(ARGV[2]) + 1)
local head = math.max(head_before + 1, us, tonumber(ARGV[3]) + 1, logged + 1)
local quarantine = math.max(number('quarantine', row[8]), now + length)
-- Only of a store that begins empty does the log tell everything.
local origin = (newest or row[2]) and 0 or head
redis.call('HSET', META, 'schema', math.max(schema, tonumber(ARGV[1])), 'epoch', epoch, 'head', head, 'run', run,
  'replication', replication, 'offset', offset, 'clock', now, 'quarantine', quarantine, 'quarantine_ms', length,
  'origin', origin)
redis.call('HSET', FLOORS, SCHEMA, math.max(schema, tonumber(ARGV[1])))
return { 'new', epoch, head, before }
