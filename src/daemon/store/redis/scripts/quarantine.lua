-- Grants no scope and judges nobody gone for a while. ARGV: length in ms.

local state = load_state()
if not state then return { 'epoch', 0 } end
redis.call('HSET', META, 'quarantine', math.max(load_mercy(state).quarantine, state.now + tonumber(ARGV[1])))
return { 'quarantined' }
