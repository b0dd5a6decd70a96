-- Ends a life of a group. ARGV: epoch, id, instance.

local state = load_state()
if not state then return { 'epoch', 0 } end
if tonumber(ARGV[1]) ~= state.epoch then return { 'epoch', state.epoch } end
local now, id = state.now, ARGV[2]

local group = live_group(id, tonumber(ARGV[3]), now)
if not group then return { 'closed', 0 } end
check_type(DUE, 'zset')
group.closed = true
group.deadline = now
put_group(state, id, group)
redis.call('ZADD', DUE, now, id)
redis.call('HSET', META, 'clock', now, 'offset', state.offset)
return { 'closed', 1 }
