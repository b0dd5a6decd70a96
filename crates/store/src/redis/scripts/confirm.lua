-- Writes something that replicas have only when they have all before it, and tells how many replicas there are.
-- ARGV: epoch; where the server is; 1: enough replicas have followed this master for the first time.

local state = load_state()
if not state then return { 'epoch', 0 } end
if tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end
local now = state.now

-- A connection that is left from before is heard of no more, and one server is one whatever it has of them.
local LAG_MAX = 2
local told = redis.call('INFO', 'replication')
local following, counted = 0, {}
for at, lag in string.gmatch(told, 'slave%d+:(ip=[^,]+,port=%d+),state=online,offset=%d+,lag=(%d+)') do
  if tonumber(lag) <= LAG_MAX and not counted[at] then
    counted[at] = true
    following = following + 1
  end
end

local row = redis.call('HMGET', META, 'replicas', 'replicas_epoch', 'replicas_at', 'settled', 'quarantine',
  'quarantine_ms')
local known = math.max(number('replicas', row[1]), following)
-- A master that was started again is the one that had them.
local seen = known > 0 and (following > 0 or number('replicas_epoch', row[2]) == state.epoch or row[3] == ARGV[2])
local settled = number('settled', row[4]) == state.epoch
redis.call('HSET', META, 'clock', digits(now), 'offset', digits(state.offset))
if seen then
  redis.call('HSET', META, 'replicas', known, 'replicas_epoch', digits(state.epoch), 'replicas_at', ARGV[2])
end
if ARGV[3] == '1' and not settled then
  local until_ = math.max(number('quarantine', row[5]), now + number('quarantine_ms', row[6]))
  redis.call('HSET', META, 'settled', digits(state.epoch), 'quarantine', digits(until_))
  settled = true
end
return { 'confirm', now, known, seen and 1 or 0, settled and 1 or 0 }
