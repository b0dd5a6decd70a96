-- Brings store time back to the clock of this server, where it is ahead of that, and begins a new epoch with its quarantine.
-- All deadlines go back by as much, so that what is left of each stays.
--
-- ARGV: epoch; the wall clock of the caller in ms; how far both clocks may be apart; by how much store time has to be ahead;
-- how long the quarantine lasts at least; 1: find out what would be done.

local state = load_state()
if not state then return { 'epoch', 0 } end
if tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end
local before, to = state.now, state.now - state.offset
if math.abs(tonumber(ARGV[2]) - to) > tonumber(ARGV[3]) then return { 'apart', to } end
if before - to < tonumber(ARGV[4]) then return { 'level', to } end
if ARGV[6] == '1' then return { 'reset', state.epoch, before, to } end

local by = state.offset
local function back(at) return math.max(0, at - by) end
check_type(DUE, 'zset')
check_type(ENDED, 'zset')
local rows = redis.call('HGETALL', GROUPS)
for at = 1, #rows, 2 do
  local id, group = rows[at], read_group(rows[at], rows[at + 1])
  group.deadline, group.renewed = back(group.deadline), back(group.renewed)
  for _, life in ipairs(group.replaced) do life.until_ = back(life.until_) end
  redis.call('HSET', GROUPS, id, group_row(group))
  if redis.call('ZSCORE', DUE, id) then redis.call('ZADD', DUE, group.deadline, id) end
  if redis.call('ZSCORE', ENDED, id) then redis.call('ZADD', ENDED, group.deadline, id) end
end

local row = redis.call('HMGET', META, 'heard', 'quarantine_ms', 'token_floor')
local epoch, head = math.max(state.epoch + 1, to), state.head + 1
local quarantine = to + math.max(tonumber(ARGV[5]), number('quarantine_ms', row[2]))
redis.call('HSET', META, 'epoch', digits(epoch), 'head', digits(head), 'offset', '0', 'clock', digits(to),
  'quarantine', digits(quarantine), 'heard', digits(back(number('heard', row[1]))), 'grace_from', '0', 'grace_until', '0',
  -- What was forgotten of scopes had no tokens above it.
  'token_floor', digits(math.max(number('token_floor', row[3]), before)))
return { 'reset', epoch, before, to }
