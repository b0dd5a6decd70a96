-- Begins a new life of a group. ARGV: epoch, id, ttl in ms, hash of the secret; the most replaced lives
-- of a group whose deadlines have not passed.

local state = load_state()
if not state then return { 'epoch', 0 } end
if tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end
local now, id, ttl = state.now, ARGV[2], tonumber(ARGV[3])

local old = group_of(id)
local live = old and is_live(old, now)
if live and redis.call('HGET', SECRETS, id) ~= ARGV[4] then return { 'held', old.deadline } end
local replaced = old and standing(old, now) or {}
if live then
  if #replaced >= tonumber(ARGV[5]) then
    local first = old.deadline
    for _, life in ipairs(replaced) do first = math.min(first, life.until_) end
    return { 'held', first }
  end
  replaced[#replaced + 1] = { until_ = old.deadline, instance = old.instance }
end

check_type(SECRETS, 'hash')
check_type(ENDED, 'zset')
check_type(DUE, 'zset')
check_type(STALE, 'zset')
local floor = tonumber(redis.call('HGET', META, 'instance_floor') or 0)
local group = {
  instance = (old and old.instance or floor) + 1, ttl = ttl, deadline = now + ttl, renewed = now, closed = false,
  replaced = replaced,
}
put_group(state, id, group)
redis.call('HSET', SECRETS, id, ARGV[4])
redis.call('ZREM', ENDED, id)
redis.call('ZADD', DUE, group.deadline, id)
-- What is bound to the lives before goes at the next sweep, although this one lives.
if old then redis.call('ZADD', STALE, now, id) end
redis.call('HSET', META, 'clock', now, 'offset', state.offset)
return { 'open', group_row(group) }
